"""Runs on other data, with other keys: each is consistent in itself, its bundle verifies, and a
refused update is neither in a checkpoint nor paid (I1)."""

import subprocess

import pytest

import checks
from cooperative import World
from rochdale import explain, export
from standalone import PROGRAMS, Server

SEEDS = (11, 12)
ROUNDS = 2


@pytest.fixture(scope="module")
def server(module_dir):
    with Server(module_dir / "data") as running:
        yield running


def test_seeds_give_consistent_bundles(server, tmp_path):
    """Two cooperatives share a server and its log; each has a bundle of its own."""
    first = None
    for seed in SEEDS:
        world = World(server, seed, copier=True, funder=first).found()
        first = first or world
        world.start_training(ROUNDS)
        world.play(ROUNDS)
        checks.check_epoch(world, world.settle(1, ROUNDS))
        checks.check_all(world)
        copier = world.members[-1]
        for round_ in world.rounds():
            refused = [u for u in world.updates(round_) if u.principal_id == copier.principal_id]
            assert [explain.state_name(u) for u in refused] == ["REJECTED"]
        assert world.earned(copier) == 0
        export.export(world.founder, world.slug, tmp_path / str(seed), all_statements=True)
        verified = subprocess.run(
            [PROGRAMS / "rochdale-verify", "bundle", tmp_path / str(seed), "--origin-key",
             server.log_key], capture_output=True, text=True, timeout=120)
        assert verified.returncode == 0, verified.stdout + verified.stderr
