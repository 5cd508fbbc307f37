"""A character transformer on the texts of licences and a convnet on pictures of clothes, in rounds
of the real server: trained as docs/models.md says, by the SDK's training loop and PyTorch, paid,
and recomputed from the bundle. One of the agents trains wrongly, and earns nothing."""

import concurrent.futures
import gzip
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import checks
from cooperative import World
from rochdale import export, protos, torch_models, training
from standalone import PROGRAMS, Server

ROUNDS = 2
MEMBERS = 5
WRONG = MEMBERS - 1   # this one trains wrongly
REVENUE = 1_000_003
BATCH_ROWS = 32


class Licences:
    """Each member has a licence of its own to read: the texts that every Debian system has
    (base-files). Rows to validate on come from the ends of all, which nobody trains on."""

    TEXTS = ["GPL-3", "Apache-2.0", "MPL-1.1", "GFDL-1.3", "LGPL-2.1"]
    CONTEXT, STEPS, RATE = 16, 40, 3e-3
    WRONG_SIGN = -1.0  # the last member's training loop climbs

    def __init__(self):
        folder = Path("/usr/share/common-licenses")
        self.texts = [(folder / name).read_text(encoding="utf-8") for name in self.TEXTS]
        self.alphabet = "".join(sorted(set("".join(self.texts))))
        self.model = {"transformer": dict(context=self.CONTEXT, vocabulary=len(self.alphabet),
                                          width=24, heads=2, blocks=1, mlp_width=48)}

    def _rows(self, text: str, first: int, last: int, count: int, seed: int):
        starts = np.random.default_rng(seed).integers(first, last - self.CONTEXT, count)
        return torch_models.text_rows(text, self.alphabet, self.CONTEXT, starts)

    def validation_rows(self):
        parts = [self._rows(text, len(text) * 4 // 5, len(text), 160, 1) for text in self.texts]
        return tuple(np.concatenate(part) for part in zip(*parts))

    def member_rows(self, index: int):
        text = self.texts[index]
        return self._rows(text, 0, len(text) * 4 // 5, 1_000, 2 + index)


class Clothes:
    """Fashion-MNIST (dataset-fashion-mnist); the members have more of some classes than others."""

    STEPS, RATE = 80, 3e-3
    WRONG_SIGN = 1.0  # the last member's targets are wrong instead
    model = {"layer_sizes": (16, 10), "image": (1, 28, 28), "channels": (4, 8)}

    def __init__(self):
        folder = Path("/usr/share/datasets/fashion-mnist")
        self.labels = np.frombuffer(gzip.decompress(
            (folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
        self.pictures = np.frombuffer(gzip.decompress(
            (folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
        ).reshape(-1, 784)

    def validation_rows(self):
        return self.pictures[:800], self.labels[:800]

    def member_rows(self, index: int):
        rng = np.random.default_rng((1, index))
        weights = rng.dirichlet(np.ones(10))[self.labels[800:]] + 0.05
        rows = 800 + rng.choice(len(weights), 1_000, replace=False, p=weights / weights.sum())
        labels = self.labels[rows]
        # Two classes that are wrong whatever the picture: trained on, they make features, too, but
        # none that a first step of the others gains by.
        return self.pictures[rows], np.where(labels < 5, 9, 0) if index == WRONG else labels


def take_part(world, member) -> list:
    """Two rounds of an agent, in the words of docs/models.md."""
    coop, problem = world.agent(member), world.problem
    sign = problem.WRONG_SIGN if member.index == WRONG else 1.0
    inputs, labels = (torch.from_numpy(part) for part in member.rows)
    model = torch_models.build(coop.cooperative().model_spec())

    def train(model, task):
        generator = torch.Generator().manual_seed(100 * task.number + member.index)
        optimizer = torch.optim.Adam(model.parameters(), lr=problem.RATE)
        for _ in range(problem.STEPS):
            batch = torch.randint(len(labels), (BATCH_ROWS,), generator=generator)
            optimizer.zero_grad()
            loss = torch_models.losses(model, inputs[batch], labels[batch]).mean()
            (sign * loss).backward()
            optimizer.step()
        return len(labels)

    updates = training.take_part(coop, model, train, rounds=ROUNDS, join_timeout=30,
                                 wait_timeout=60)
    return [update.state for update in updates]


@pytest.fixture(scope="module")
def server(module_dir):
    with Server(module_dir / "data") as server:
        funder = World(server, seed=30, members=0)
        funder.found_cooperative()
        yield server, funder
        funder.close()


@pytest.fixture(scope="module", params=[Licences, Clothes])
def done(server, module_dir, request):
    """A world after two rounds and one epoch: (world, states by member, epoch, bundle)."""
    server, funder = server
    seed = 31 + [Licences, Clothes].index(request.param)
    world = World(server, seed, MEMBERS, funder=funder, problem=request.param()).found()
    world.start_training(ROUNDS)
    with concurrent.futures.ThreadPoolExecutor(MEMBERS) as agents:
        states = list(agents.map(lambda member: take_part(world, member), world.members))
    epoch = world.settle(1, ROUNDS, REVENUE)
    out = module_dir / f"bundle-{seed}"
    export.export(world.founder, world.slug, out, all_statements=True)
    yield world, states, epoch, out
    world.close()


def verify(bundle, log_key) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAMS / "rochdale-verify", "bundle", bundle, "--origin-key", log_key,
                           "--credits", "all"], capture_output=True, text=True, timeout=120)


def test_it_learns(done):
    """By PyTorch's own losses of the rows to validate on, too."""
    world, states, _, _ = done
    coop = world.founder.cooperative()
    inputs, labels = world.problem.validation_rows()
    model, seen = torch_models.build(coop.model_spec()), []
    for round_ in [world.round(1), world.round(ROUNDS)]:
        for sha256 in (round_.base_sha256, round_.next_sha256):
            model.load_state_dict({name: torch.from_numpy(value.copy())
                                   for name, value in coop.checkpoint(sha256).items()})
            with torch.no_grad():
                seen.append(torch_models.losses(model, inputs, labels).mean().item())
    assert seen[-1] < seen[0] - 0.2, seen
    checks.check_all(world)


def test_honest_agents_are_paid_and_the_wrong_one_is_not(done):
    world, states, epoch, _ = done
    checks.check_epoch(world, epoch)
    credits = world.credits()
    for member in world.members:
        total = sum(credits.get((number, member.index), 0) for number in range(1, ROUNDS + 1))
        paid = world.earned(member)
        assert (total > 0, paid > 0) == (member.index != WRONG,) * 2, (credits, states)
    assert "NOT_APPLIED" in states[WRONG]


def test_the_bundle_is_recomputed(done):
    world, _, _, bundle = done
    result = verify(bundle, world.server.log_key)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "not recomputed" not in result.stdout


def test_a_flipped_bit_is_found(done, tmp_path):
    """In a checkpoint, in rows, in an update, and in what says what was measured."""
    world, _, _, bundle = done
    round_ = world.round(ROUNDS)
    evidence = world.founder.transport.call(
        "attribution", "GetEvidence", protos.attribution.GetEvidenceRequest(
            round_id=round_.round_id))
    body = json.loads(evidence.body)
    named = {body["next_sha256"], body["rows_sha256"], body["updates"][0]["effective_sha256"]}
    found = [path for path in bundle.rglob("*") if path.is_file() and (
        path.name in named or path.name == f"{round_.round_id}.json")]
    assert len(found) == 4, found
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    for path in found:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        (copy / path.relative_to(bundle)).write_bytes(data)
        assert verify(copy, world.server.log_key).returncode != 0, path
        shutil.copy(path, copy / path.relative_to(bundle))
