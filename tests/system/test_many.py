"""A cooperative of twelve: more than the game evaluates every coalition of. Shapley values are
sampled, weights follow earlier credits, founders go back to an earlier checkpoint; an auditor
accepts all of it."""

import json
import subprocess

import pytest

import checks
from cooperative import World
from rochdale import export
from standalone import PROGRAMS, Server

MEMBERS = 12
REVENUE = 1_000_003
PARAMETERS = {
    "aggregation.rule": "credit_weighted",
    "credit.sampled_pairs_min": 2,
    "credit.sampled_pairs_max": 8,
    # Twelve members on 172 parameters: each lies near the span of the others.
    "originality.r1_max_micro": 1_000_000,
    "originality.ev_max_micro": 1_000_000,
}


@pytest.fixture(scope="module")
def done(module_dir):
    """Two rounds, a way back, a third round, an epoch."""
    with Server(module_dir / "data") as server:
        world = World(server, seed=12, members=MEMBERS, parameters=PARAMETERS).found()
        world.start_training(2)
        world.play(2)
        first = world.round(1)
        back = world.founder.admin.roll_back(first.next_sha256, "the second round is looked into")
        assert (back.version, back.sha256) == (3, first.next_sha256)
        world.start_training(1)
        world.play(3)
        world.settle(1, 3, REVENUE)
        yield world
        world.close()


def test_training_goes_on_from_where_founders_went_back_to(done):
    world = done
    assert world.round(3).base_sha256 == world.round(1).next_sha256
    checks.check_all(world)


def test_the_bundle_says_how_twelve_were_paid_and_verifies(done, module_dir):
    world = done
    out = module_dir / "bundle"
    export.export(world.founder, world.slug, out, all_statements=True)
    sizes = []
    for path in (out / "rounds").iterdir():
        evidence = json.loads(path.read_text())
        sizes.append(len(evidence["updates"]))
        assert evidence["aggregation"]["rule"] == "credit_weighted"
        if sizes[-1] > 10:
            assert 2 <= evidence["credit_rule"]["sampling"]["pairs"] <= 8
    assert max(sizes) > 10, sizes
    result = subprocess.run(
        [PROGRAMS / "rochdale-verify", "bundle", out, "--origin-key", world.server.log_key,
         "--credits", "all"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
