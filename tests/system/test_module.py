"""A cooperative whose model is a TorchScript module: registered, trained, paid with its tolerance
said, and recomputed by an auditor who runs the module."""

import io
import json
import subprocess

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import checks
import rochdale
from cooperative import LAYERS, World
from rochdale import admin, export, modules
from standalone import PROGRAMS, Server

REVENUE = 1_000_003
PROBE = "7b2a9dbc-5e3f-4a41-8c8d-be2f3a4b5c6d"


class Model(nn.Sequential):
    """As docs/models.md shows it, with the names of the built-in MLP."""

    def __init__(self):
        super().__init__(nn.Linear(LAYERS[0], LAYERS[1]), nn.ReLU(), nn.Linear(*LAYERS[1:]))

    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(self.forward(inputs), targets, reduction="none")


def module_bytes() -> bytes:
    torch.manual_seed(5)
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(Model()), saved)
    return saved.getvalue()


@pytest.fixture(scope="module")
def done(module_dir):
    """Two rounds and an epoch: (world, epoch, bundle)."""
    with Server(module_dir / "data") as server:
        world = World(server, seed=21, module=module_bytes(), floor=[admin.rule(
            "common", "VALUE_EFFECT", "REFUSE", probe_ids=[PROBE], eps_nanonats=10**10)]).found()
        world.founder.admin.register_probe("common", *world.problem.rows(60, 50), probe_id=PROBE,
                                           of_cooperative=True)
        world.start_training(2)
        world.play(2)
        epoch = world.settle(1, 2, REVENUE)
        out = module_dir / "bundle"
        export.export(world.founder, world.slug, out, all_statements=True)
        yield world, epoch, out
        world.close()


def verify(bundle, log_key, *options):
    return subprocess.run(
        [PROGRAMS / "rochdale-verify", "bundle", bundle, "--origin-key", log_key,
         "--credits", "all", *options], capture_output=True, text=True, timeout=120)


def test_a_module_learns_and_pays(done):
    world, epoch, _ = done
    checks.check_all(world)
    assert sum(world.credits().values()) > 0
    spec = modules.describe(module_bytes(), inputs=LAYERS[0], classes=LAYERS[-1])
    lines = [line for statement in world.statements(epoch.epoch_id) for line in statement.lines]
    assert lines
    assert {line.tolerance_nanonats for line in lines} == {spec["tolerance_nanonats"]}
    assert {line.deadband_nanonats for line in lines} == {spec["deadband_nanonats"]}


def test_the_step_of_all_is_tested_on_the_floors_probe(done):
    world, _, bundle = done
    for number in (1, 2):
        path = bundle / "rounds" / f"{world.round(number).round_id}.json"
        values = json.loads(path.read_text())["values"]
        assert values["bounds"] == [{"probe_id": PROBE, "rows": 60, "eps_nanonats": 10**10}]
        assert len(values["masks"]) == 2 and int(values["loss_sums"][0][0]) > 0


def test_an_auditor_is_told_what_was_not_recomputed(done):
    world, _, bundle = done
    result = verify(bundle, world.server.log_key)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "not recomputed" in result.stdout


def test_an_auditor_runs_the_module(done):
    world, _, bundle = done
    result = verify(bundle, world.server.log_key, "--run-modules")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "not recomputed" not in result.stdout


def test_a_module_that_nobody_registered_is_refused(done):
    world, _, _ = done
    other = World(world.server, seed=22, members=0, funder=world)
    other.found_cooperative()
    spec = modules.describe(module_bytes(), inputs=LAYERS[0], classes=LAYERS[-1])
    with pytest.raises(rochdale.errors.RochdaleError) as refused:
        other.founder.admin.create_model(torchscript=spec)
    assert refused.value.reason == "MODULE_UNREGISTERED"
    other.close()
