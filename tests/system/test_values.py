"""Values decide what may train, over the real API: a principal's own probe refuses, the
cooperative's direction rule projects, and authority is looked at again when a round is screened."""

import json
import subprocess

import numpy as np
import pytest

import checks
from cooperative import World
from rochdale import admin, explain, export, rounds
from standalone import PROGRAMS, Server

PROBE = "5f0e7b9a-3c1d-4e2f-8a6b-9c0d1e2f3a4b"


class Valued(World):
    """A cooperative with a protected probe; members 2 and 3 unlearn, and member 3 protects with a
    probe of its own what that harms."""

    def __init__(self, server):
        super().__init__(server, seed=7, floor=[admin.rule(
            "protects", "VALUE_DIRECTION", "PROJECT", probe_ids=[PROBE], bound_micro=50_000)])

    def delta(self, member, task):
        learned = super().delta(member, task)
        harms = member.index in (2, 3)
        return {name: -value for name, value in learned.items()} if harms else learned

    def found(self):
        super().found()
        self.founder.admin.register_probe("protected", *self.problem.rows(200, 50),
                                          probe_id=PROBE, protected=True, of_cooperative=True)
        acts = self.principal(self.members[3]).admin
        # What it has learned from, so that it surely unlearns it.
        mine = acts.register_probe("mine", *self.members[3].rows)
        acts.set_profile(constraints=[admin.rule("own", "VALUE_EFFECT", "REFUSE",
                                                 probe_ids=[mine.probe_id], eps_nanonats=1)])
        return self


@pytest.fixture(scope="module")
def world(module_dir):
    with Server(module_dir / "data") as server:
        world = Valued(server).found()
        world.start_training(2)
        world.play(2)
        yield world
        world.close()


def states(world, number: int) -> list:
    return [explain.state_name(u) for u in world.updates(world.round(number))]


def reasons(world, number: int) -> list:
    return [u.reason for u in world.updates(world.round(number))]


def test_what_harms_ones_own_probe_is_refused(world):
    for number in (1, 2):
        assert (states(world, number)[3], reasons(world, number)[3]) == ("REJECTED", "VALUE_EFFECT")
    client = world.agent(world.members[3])
    told = client.update(world.update_ids[1, 3]).explain()
    assert "VALUE_EFFECT" in told
    assert not client.credits()


def test_what_points_against_a_protected_probe_is_projected(world):
    """Member 2 raises the probe's loss: its conforming part trains, at most."""
    finding = next(f for f in world.agent(world.members[2]).update(
        world.update_ids[1, 2]).decision().findings if f.rule_id == "protects")
    assert finding.verdict == checks.protos.filter.VERDICT_PROJECT, finding
    assert int(finding.measured) > int(finding.threshold)
    decision = world.agent(world.members[0]).update(world.update_ids[1, 0]).decision()
    assert decision.verdict == checks.protos.filter.VERDICT_ALLOW


def test_others_do_not_see_why(world):
    """A refusal is seen by all; its reasons by the principal and by founders only."""
    round_ = world.round(1)
    seen = world.principal(world.members[0]).cooperative().updates(round_.round_id)[3]
    assert explain.state_name(seen) == "REJECTED" and not seen.reason
    assert world.principal(world.members[0]).update(seen.update_id).decision() is None


def test_a_refused_agent_is_told_how_its_private_values_are_committed_to(world):
    """The salt that opens the digests of a principal's own bounds goes to the principal alone."""
    update = world.update_ids[1, 3]
    own = world.agent(world.members[3]).update(update).decision()
    founders = world.founder.update(update).decision()
    assert len(own.salt) == 32 and not founders.salt
    assert own.body == founders.body and b"_commitment" in own.body


def test_the_evidence_verifies(world, tmp_path):
    checks.check_epoch(world, world.settle(1, 2))
    checks.check_all(world)
    export.export(world.founder, world.slug, tmp_path / "bundle", all_statements=True)
    result = subprocess.run([PROGRAMS / "rochdale-verify", "bundle", tmp_path / "bundle",
                             "--origin-key", world.server.log_key], capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_authority_that_ends_before_screening_is_missed(world):
    """Between its reveal and the screening one agent is paused, another's mandate is revoked, and
    a member leaves: none of them trains, and the others' round goes on."""
    number = world.start_training(1).number
    paused, revoked = world.members[0], world.members[1]
    round_ = world.await_state(number, rounds.REVEAL, act=True)
    for member in world.members[:-1]:
        world.reveal(member, round_)
        world._revealed.add((number, member.index))
    world.principal(paused).admin.set_agent_pause(paused.agent_id, True, "stop")
    world.principal(revoked).admin.revoke_mandate(world.id("mandate", revoked.index))
    assert world.play(number).state in (rounds.CLOSED, rounds.ABANDONED)
    assert states(world, number)[:2] == ["REJECTED", "REJECTED"]
    assert reasons(world, number)[:2] == ["AGENT_PAUSED", "MANDATE_MISSING"]
    checks.check_all(world)


# ---- Values of all, against what all do together ----

TOGETHER = "6a1f8cab-4d2e-4f30-9b7c-ad1e2f3a4b5c"
EPS_NANONATS = 260_000_000


class Together(World):
    """Whose floor refuses that a probe's loss rises, of one update and of the step of all."""

    def __init__(self, server, funder):
        super().__init__(server, seed=9, members=3, funder=funder, floor=[admin.rule(
            "common", "VALUE_EFFECT", "REFUSE", probe_ids=[TOGETHER], eps_nanonats=EPS_NANONATS)])

    def found(self):
        super().found()
        inputs, labels = self.problem.rows(60, 51)
        # Of one class the model knows, the labels are another's: to learn is to unlearn these.
        self.founder.admin.register_probe("common", inputs, np.full_like(labels, 3),
                                          probe_id=TOGETHER, of_cooperative=True)
        return self


def test_what_breaks_the_floor_only_together_is_refused(world, tmp_path):
    """Each update keeps the floor's bound, and all are admitted; the step of all breaks it, and is
    taken without the update that adds most. Whoever has the bundle finds the same."""
    together = Together(world.server, world).found()
    together.start_training(1)
    round_ = together.play(1)
    assert (round_.admitted, round_.applied) == (3, 2)
    rises = []
    for member in together.members:
        update = together.founder.update(together.update_ids[1, member.index])
        finding = next(f for f in update.decision().findings if f.rule_id == "common")
        assert finding.verdict == checks.protos.filter.VERDICT_ALLOW
        rises.append(int(finding.measured))
    assert max(rises) <= EPS_NANONATS < sum(rises)
    refused = reasons(together, 1).index("NOT_APPLIED_VALUES")
    assert states(together, 1) == ["NOT_APPLIED" if i == refused else "APPLIED" for i in range(3)]
    assert "NOT_APPLIED_VALUES" in together.agent(together.members[refused]).update(
        together.update_ids[1, refused]).explain()
    assert together.credits()[1, refused] == 0
    checks.check_epoch(together, together.settle(1, 1))
    checks.check_all(together)
    bundle = tmp_path / "bundle"
    export.export(together.founder, together.slug, bundle, all_statements=True)
    evidence = json.loads((bundle / "rounds" / f"{round_.round_id}.json").read_text())
    assert evidence["values"]["bounds"] == [
        {"probe_id": TOGETHER, "rows": 60, "eps_nanonats": EPS_NANONATS}]
    assert evidence["values"]["masks"] == ["0", "7", "6", "5", "3"]
    sums = [int(s) for s in evidence["values"]["loss_sums"][0]]
    assert sums[2 + refused] == min(sums[2:]) <= sums[0] + 60 * EPS_NANONATS < sums[1]
    assert int(evidence["applied_mask"]) == 7 & ~(1 << refused)
    result = subprocess.run([PROGRAMS / "rochdale-verify", "bundle", bundle, "--origin-key",
                             together.server.log_key], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    together.close()
