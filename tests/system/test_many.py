"""A cooperative of twelve: more than the game evaluates every coalition of. Shapley values are
sampled, weights follow earlier credits, founders try two checkpoints against each other and go back
to one; an auditor accepts all of it."""

import json
import subprocess
import time

import pytest

import checks
from cooperative import World
from rochdale import export, protos
from standalone import PROGRAMS, Server

MEMBERS = 12
REVENUE = 1_000_003
PARAMETERS = {
    "aggregation.rule": "credit_weighted",
    "credit.sampled_pairs_min": 2,
    "credit.sampled_pairs_max": 8,
    "comparison.rows_min": 30,
    # Twelve members on 172 parameters: each lies near the span of the others.
    "originality.r1_max_micro": 1_000_000,
    "originality.ev_max_micro": 1_000_000,
}


@pytest.fixture(scope="module")
def done(module_dir):
    """Two rounds, an A/B test, a way back, a third round, an epoch: (world, the test's end)."""
    with Server(module_dir / "data") as server:
        world = World(server, seed=12, members=MEMBERS, parameters=PARAMETERS).found()
        world.start_training(2)
        world.play(2)
        first, last = world.round(1), world.round(2)
        acts = world.founder.admin
        test = acts.compare(first.base_sha256, last.next_sha256)
        until = time.monotonic() + 30
        while test.state == protos.attribution.COMPARISON_STATE_RUNNING:
            assert time.monotonic() < until, "the A/B test does not end"
            time.sleep(0.1)
            test = acts.comparison(test.comparison_id)
        back = acts.roll_back(first.next_sha256, "the second round is looked into")
        assert (back.version, back.sha256) == (3, first.next_sha256)
        world.start_training(1)
        world.play(3)
        world.settle(1, 3, REVENUE)
        yield world, test
        world.close()


def test_a_trained_checkpoint_wins_against_the_first(done):
    _, test = done
    assert test.state == protos.attribution.COMPARISON_STATE_DONE
    assert test.verdict == protos.attribution.COMPARISON_VERDICT_B_BETTER


def test_training_goes_on_from_where_founders_went_back_to(done):
    world, _ = done
    assert world.round(3).base_sha256 == world.round(1).next_sha256
    checks.check_all(world)


def test_the_bundle_says_how_twelve_were_paid_and_verifies(done, module_dir):
    world, _ = done
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
