"""Knobs, plan, display and the way out; nothing here needs a server."""

import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import ROOT
from demo import agents, display, evidence, plan as plans, run, server, settings
from rochdale import errors, protos


def test_every_knob_is_in_the_help():
    shown = subprocess.run([ROOT / "scripts" / "demo", "--help"], text=True, check=True,
                           stdout=subprocess.PIPE).stdout
    options = {a.option_strings[0] for a in settings.parser()._actions} - {"--programs"}
    assert options | {"--no-build"} == set(re.findall(r"^  (--[a-z-]+)", shown, re.M))
    chosen = settings.parse([])
    assert f"(default {chosen.agents})" in shown and f"(default {chosen.rounds})" in shown


@pytest.mark.parametrize("bad", [["--agents", "5"], ["--agents", "13"], ["--rounds", "0"],
                                 ["--seed", "-1"], ["--port", "70000"], ["--agent", "8"], ["x"]])
def test_bad_knobs_are_refused(bad):
    with pytest.raises(SystemExit) as stopped:
        settings.parse(bad)
    assert stopped.value.code == 2


@pytest.mark.parametrize("agents_", range(6, 13))
def test_three_members_are_dishonest_and_the_copier_is_last(agents_):
    members = settings.Settings(agents=agents_).members
    assert len(members) == agents_ == len({m.name for m in members})
    assert [m.role for m in members[-3:]] == ["value-breaking", "label-flipper", "copier"]
    assert {m.role for m in members[:-3]} == {"honest"}


# ---- Plan ----


def refused(reason):
    def act():
        raise errors.RochdaleError("no", reason=reason)
    return act


@pytest.fixture
def open_folders(monkeypatch):
    """pytest's own folders are closed to others, which matters where it runs as root."""
    monkeypatch.setattr(run, "_others_may_enter", lambda folder: True)


def test_a_plan_remembers_ids_keys_and_steps(tmp_path):
    chosen = settings.Settings()
    first = plans.Plan(tmp_path / "data", chosen)
    first.open(chosen)
    identifier, key, done = first.id("epoch"), first.key("founder").public_hex, []
    first.once("genesis", lambda: done.append(1))
    first.once("genesis", lambda: done.append(2))
    first.close()
    again = plans.Plan(tmp_path / "data", chosen)
    again.open(chosen)
    again.once("genesis", lambda: done.append(3))
    assert (again.id("epoch"), again.key("founder").public_hex, done) == (identifier, key, [1])
    again.close()


def test_a_step_that_was_done_before_counts_and_others_do_not(tmp_path):
    chosen = settings.Settings()
    plan = plans.Plan(tmp_path, chosen)
    plan.open(chosen)
    plan.once("register", refused("KEY_IN_USE"))
    assert plan.is_done("register")
    with pytest.raises(errors.RochdaleError):
        plan.once("genesis", refused("SIGNATURE_INVALID"))
    assert not plan.is_done("genesis")
    plan.close()


def test_a_plan_of_other_settings_is_refused(tmp_path):
    plan = plans.Plan(tmp_path, settings.Settings(seed=1))
    plan.open(settings.Settings(seed=1))
    plan.close()
    with pytest.raises(plans.PlanMismatch, match="--seed 1"):
        plans.Plan(tmp_path, settings.Settings(seed=2)).open(settings.Settings(seed=2))


_HOLD = """
import sys, time
from pathlib import Path
from demo import plan, settings
held = plan.Plan(Path(sys.argv[1]), settings.Settings())
held.take()
print("held", flush=True)
time.sleep(60)
"""


def test_two_demos_do_not_share_a_folder(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "sdk" / "python")])
    other = subprocess.Popen([sys.executable, "-c", _HOLD, tmp_path], stdout=subprocess.PIPE,
                             env=dict(os.environ, PYTHONPATH=path), text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(plans.DataInUse):
            plans.Plan(tmp_path, settings.Settings()).take()
    finally:
        # Killed outright, it leaves no lock behind.
        other.kill()
        other.wait()
        other.stdout.close()
    plan = plans.Plan(tmp_path, settings.Settings())
    plan.take()
    plan.close()


def test_root_keeps_its_data_where_the_database_can_reach_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run.os, "geteuid", lambda: 0)
    hidden, shown = tmp_path / "hidden", tmp_path / "shown"
    hidden.mkdir(mode=0o700)
    assert run.data_folder(settings.Settings(out=hidden / "out")) == Path("/var/tmp/rochdale-demo")
    with pytest.raises(run.DemoFailed, match="cannot enter"):
        run.data_folder(settings.Settings(data=hidden / "data"))
    shown.mkdir()
    for folder in (shown, *shown.parents):
        if not folder.stat().st_mode & 1:
            monkeypatch.setattr(run, "_others_may_enter", lambda folder: True)
    assert run.data_folder(settings.Settings(out=shown / "out")) == shown / "out" / "data"


def test_somebody_elses_folder_is_not_cleared(tmp_path, monkeypatch):
    (tmp_path / "plan.json").write_text("{}")
    assert plans.is_ours(tmp_path)
    monkeypatch.setattr(plans.os, "geteuid", lambda: 4_000_000)
    assert not plans.is_ours(tmp_path)


@pytest.mark.usefixtures("open_folders")
def test_only_a_demos_folder_is_cleared(tmp_path):
    foreign = tmp_path / "data"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    demo = run.Demo(settings.Settings(out=tmp_path, data=foreign), display.Display(io.StringIO()))
    with pytest.raises(run.DemoFailed, match="left alone"):
        demo._open_data()
    assert (foreign / "thesis.txt").exists()


@pytest.mark.usefixtures("open_folders")
def test_nothing_to_resume_is_said(tmp_path):
    chosen = settings.Settings(out=tmp_path, resume=True)
    with pytest.raises(run.DemoFailed, match="nothing to resume"):
        run.Demo(chosen, display.Display(io.StringIO()))._open_data()


@pytest.mark.usefixtures("open_folders")
def test_a_clean_start_forgets_the_run_before(tmp_path):
    chosen = settings.Settings(out=tmp_path, data=tmp_path / "data")
    first = run.Demo(chosen, display.Display(io.StringIO()))
    first._open_data()
    identifier = first._plan.id("epoch")
    first._plan.close()
    second = run.Demo(chosen, display.Display(io.StringIO()))
    second._open_data()
    assert second._plan.id("epoch") != identifier
    second._plan.close()


# ---- Server ----


def program(tmp_path, text):
    path = tmp_path / "program"
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(0o755)
    return path


def test_a_server_that_does_not_start_is_quoted(tmp_path):
    child = server.Server(program(tmp_path, "echo the disk is full >&2; exit 7\n"),
                          tmp_path / "s", 0)
    with pytest.raises(server.ServerFailed, match=r"status 7(?s:.*)the disk is full"):
        child.start()
    child.stop()


def test_a_server_is_started_with_its_folder_and_stopped(tmp_path):
    text = ('trap "exit 0" TERM\n'
            'echo "{\\"port\\":4711,\\"log_key\\":\\"k\\",\\"args\\":\\"$*\\"}" >"$2/server.json"\n'
            "sleep 60 & wait\n")
    child = server.Server(program(tmp_path, text), tmp_path / "s", 4711)
    child.start()
    assert (child.target, child.log_key) == ("127.0.0.1:4711", "k")
    assert "--plaintext --port 4711" in (tmp_path / "s" / "server.json").read_text()
    process = child._process
    child.stop()
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        # Its own children went with it.
        for _ in range(50):
            os.killpg(process.pid, 0)
            threading.Event().wait(0.05)


# ---- Rounds ----


def a_round(number, state, deadline_us=1):
    return protos.attribution.Round(number=number, state=state, deadline_us=deadline_us)


class NoCooperative:
    id = "x"


@pytest.mark.parametrize("newest, reached", [
    (a_round(2, agents.OPEN), False),
    (a_round(3, agents.OPEN, 0), False),
    (a_round(3, agents.OPEN), True),
    (a_round(3, agents.REVEAL), True),
    (a_round(4, agents.OPEN, 0), True),
])
def test_waiting_for_a_round_to_open(newest, reached, monkeypatch):
    watch = agents.RoundWatch(NoCooperative())
    monkeypatch.setattr(agents, "STALLED_SECONDS", 0.0)
    watch._publish(newest)
    if reached:
        assert watch.wait(3, agents.OPEN) is newest
    else:
        with pytest.raises(agents.Stalled):
            watch.wait(3, agents.OPEN)


def test_who_waits_is_told_that_the_run_is_over():
    watch = agents.RoundWatch(NoCooperative())
    threading.Timer(0.1, watch.stop).start()
    with pytest.raises(agents.Stopped):
        watch.wait(1, agents.OPEN)


def test_the_copier_gets_its_victims_update_once_all_have_committed():
    members = settings.Settings().members
    board, others, got = agents.Board(members), members[:-1], []
    thief = threading.Thread(target=lambda: got.append(board.leaked(1, members[1], others)))
    thief.start()
    for m in others[:-1]:
        board.committed(1, m, f"delta of {m.name}")
    thief.join(0.2)
    assert got == []
    board.missed(1, others[-1])
    thief.join(5)
    assert got == ["delta of Bruno"]
    # The next round starts with nothing.
    board.committed(2, members[0], "new")
    assert (1, 1) not in board._deltas


# ---- Evidence ----


def test_exactly_one_bit_is_changed_in_the_copy_only(tmp_path):
    bundle = tmp_path / "evidence"
    for name, content in (("manifest.json", b"{}"), ("log/checkpoint", b"abc"), ("blobs/x", b"")):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(content)
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    for seed in range(12):
        file, place, bit = evidence.change_one_bit(bundle, tmp_path / "copy", seed)
        old, new = (bundle / file).read_bytes(), (tmp_path / "copy" / file).read_bytes()
        differing = [(i, a ^ b) for i, (a, b) in enumerate(zip(old, new)) if a != b]
        assert differing == [(place, 1 << bit)] and len(old) == len(new)
    assert before == {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}


def test_a_verifier_that_accepts_the_tampered_copy_fails_the_check(tmp_path):
    accepts = program(tmp_path, "echo all good; exit 0\n")
    assert not evidence.verify_tampered(accepts, tmp_path, "k", "log/checkpoint").ok
    assert evidence.verify_bundle(accepts, tmp_path, "k").ok
    vague = program(tmp_path, "echo something is wrong; exit 1\n")
    assert not evidence.verify_tampered(vague, tmp_path, "k", "log/checkpoint").ok
    names = program(tmp_path, "echo log/checkpoint: bad signature; exit 1\n")
    assert evidence.verify_tampered(names, tmp_path, "k", "log/checkpoint").ok


# ---- Display ----


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_are_plain_where_there_is_no_terminal():
    out = io.StringIO()
    shown = display.Display(out)
    shown.step("training")
    shown.follow(lambda: "round 1/8")
    shown.note("done")
    shown.close()
    assert "\x1b" not in out.getvalue() and "training\n" in out.getvalue()


def test_the_moving_line_is_gone_in_the_end():
    out = Terminal()
    shown = display.Display(out)
    shown.follow(lambda: "round 1/8")
    threading.Event().wait(0.7)
    shown.close()
    assert "round 1/8" in out.getvalue() and out.getvalue().endswith("\r\x1b[2K")


def test_tables_line_up():
    text = display.table(["name", "n"], [["a", 1], ["long name", 1000]], {1})
    assert text.splitlines() == ["name          n", "─────────  ────", "a             1",
                                 "long name  1000"]
