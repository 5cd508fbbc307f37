"""One cooperative from its founding to the payments and the offline audit, through the SDK, the
`rochdale` command and rochdale-verify alone. A copier takes part and
must come away with nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import checks
from cooperative import World, loss
from rochdale import audit, errors, explain, export
from standalone import PROGRAMS, ROOT, Server

ROUNDS = 3
REVENUE = 1_000_000_007  # a prime, so that shares do not come out even by chance


@pytest.fixture(scope="module")
def done(module_dir):
    """A world after three rounds and one epoch: (world, epoch)."""
    with Server(module_dir / "data") as server:
        world = World(server, seed=1, members=6, copier=True).found()
        world.start_training(ROUNDS)
        world.play(ROUNDS)
        epoch = world.settle(1, ROUNDS, REVENUE)
        yield world, epoch
        world.close()


@pytest.fixture(scope="module")
def bundle(done, module_dir):
    """The evidence bundle of that world with everybody's statements."""
    world, _ = done
    out = module_dir / "bundle"
    report = export.export(world.founder, world.slug, out, all_statements=True)
    assert (report.rounds, report.path) == (ROUNDS, str(out))
    return out


def verify(folder, key, *options) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAMS / "rochdale-verify", "bundle", folder, "--origin-key", key,
                           *options], capture_output=True, text=True, timeout=120)


def outcomes(world, round_) -> dict:
    """{member's index: state of its update}"""
    members = {m.principal_id: m.index for m in world.members}
    return {members[u.principal_id]: explain.state_name(u) for u in world.updates(round_)}


def test_rounds_close_and_the_model_learns(done):
    world, _ = done
    rows = world.problem.rows(600, 1)
    coop = world.founder.cooperative()
    first, last = world.round(1), world.round(ROUNDS)
    assert loss(coop.checkpoint(last.next_sha256), *rows) < loss(
        coop.checkpoint(first.base_sha256), *rows) - 0.05
    for earlier, later in zip(world.rounds(), world.rounds()[1:]):
        assert later.base_sha256 == earlier.next_sha256


def test_every_invariant_holds(done):
    world, epoch = done
    checks.check_all(world)
    checks.check_epoch(world, epoch)
    assert epoch.revenue_microtokens == REVENUE


def test_the_copier_is_refused_and_earns_nothing(done):
    world, epoch = done
    copier = world.members[-1]
    for round_ in world.rounds():
        assert outcomes(world, round_)[copier.index] == "REJECTED"
    updates = world.principal(copier).cooperative().updates(world.round(1).round_id)
    mine = next(u for u in updates if u.principal_id == copier.principal_id)
    assert mine.reason == "ORIGINALITY"
    assert "ORIGINALITY" in world.agent(copier).update(mine.update_id).explain()
    assert world.earned(copier) == 0
    assert not world.principal(copier).cooperative().credits()


def test_honest_members_are_credited_and_paid(done):
    world, epoch = done
    paid = {m.index: world.earned(m) for m in world.members[:-1]}
    assert sum(paid.values()) == REVENUE
    assert sum(1 for amount in paid.values() if amount > 0) >= 3, paid
    for member in world.members[:-1]:
        statements = world.principal(member).statement()
        assert statements.payment_microtokens == paid[member.index]
        assert statements.to_csv().count("\n") == 1 + ROUNDS


def test_receipts_are_verified_by_the_sdk(done):
    world, _ = done
    member = world.members[0]
    client = world.agent(member)
    update = client.update(world.update_ids[1, member.index])
    found = update.receipts()
    assert set(found) == {"commitment", "decision", "credit"}
    for step, receipt in found.items():
        verification = client.verify(receipt.to_text())
        assert verification and verification.pinned, f"{step}: {verification}"
    forged = update.receipt.to_text().replace("\nindex ", "\nindex 1")
    assert not client.verify(forged)


def test_the_bundle_verifies_offline(done, bundle):
    world, _ = done
    result = verify(bundle, world.server.log_key)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_bundle_of_another_log_is_refused(done, bundle):
    world, _ = done
    name, number, key = world.server.log_key.split("+", 2)
    other = "+".join((name, number, key[:-2] + ("A" if key[-2] != "A" else "B") + key[-1]))
    assert verify(bundle, other).returncode != 0


def flippable(bundle: Path) -> list:
    """One file of every kind that a bundle has."""
    kinds = {}
    for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
        kinds.setdefault(path.relative_to(bundle).parts[0], path.relative_to(bundle))
    kinds["tile"] = next(p.relative_to(bundle) for p in bundle.rglob("log/tile/entries/**/*")
                         if p.is_file())
    return sorted(set(kinds.values()))


def test_one_flipped_bit_is_found(done, bundle, tmp_path):
    world, _ = done
    files = flippable(bundle)
    assert len(files) >= 8, files
    for path in files:
        copy = tmp_path / "copy"
        shutil.copytree(bundle, copy)
        data = bytearray((copy / path).read_bytes())
        data[len(data) // 2] ^= 4
        (copy / path).write_bytes(data)
        result = verify(copy, world.server.log_key)
        assert result.returncode != 0, f"a bit of {path} was flipped and nothing said"
        shutil.rmtree(copy)


def test_what_the_manifest_would_not_catch_is_found(done, bundle, tmp_path):
    """A file that is missing, and one that is too many."""
    world, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "surplus.json").write_text("{}")
    assert verify(copy, world.server.log_key).returncode != 0
    (copy / "surplus.json").unlink()
    next((copy / "rounds").iterdir()).unlink()
    assert verify(copy, world.server.log_key).returncode != 0


def test_every_payment_leads_to_the_signature_of_its_principal(done, bundle):
    world, epoch = done
    offline = audit.BundleSource(bundle, world.server.log_key)
    paid = [s for s in world.statements(epoch.epoch_id) if s.paid]
    assert paid
    keys = {m.principal_id: m.key.public_hex for m in world.members}
    for statement in paid:
        chain = audit.chain(offline, statement.transfer_id)
        assert chain.ok, str(chain)
        assert (statement.principal_id, keys[statement.principal_id]) in chain.authorities
    online = audit.chain(audit.OnlineSource(world.founder), paid[0].transfer_id)
    assert online.ok, str(online)


def test_the_command_line_exports_and_audits(done, bundle, tmp_path):
    world, epoch = done
    key = world.founder_key.save(tmp_path / "founder.key")
    command = [sys.executable, "-m", "rochdale"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "sdk" / "python"))
    common = ["--key", key, "--identity", f"principal:{world.founder_id}", "--target",
              world.server.target, "--cooperative", world.slug, "--log-key", world.server.log_key]
    subprocess.run([*command, "export", *common, "--all-statements", "--quiet", "--out",
                    tmp_path / "bundle"], env=environment, check=True, timeout=120,
                   stdout=subprocess.DEVNULL)
    assert verify(tmp_path / "bundle", world.server.log_key).returncode == 0
    transfer = next(s.transfer_id for s in world.statements(epoch.epoch_id) if s.paid)
    walked = subprocess.run([*command, "audit", "chain", "--payment", transfer, "--bundle",
                             tmp_path / "bundle", "--log-key", world.server.log_key, "--json"],
                            env=environment, capture_output=True, text=True, timeout=120)
    assert walked.returncode == 0, walked.stderr
    assert json.loads(walked.stdout)["ok"] is True


def export_tables(world, out: Path) -> list:
    """The tables of the ledger's database, as rochdale-ledger-admin writes them."""
    pid_file = (world.server.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    database = f"host={pid_file[4]} port={pid_file[3]} user=rochdale dbname=postgres"
    subprocess.run([PROGRAMS / "rochdale-ledger-admin", "export-tables", "--database", database,
                    "--out", out], check=True, timeout=120)
    return out.read_text().splitlines()


def replay(folder, key, tables) -> dict:
    """{check: whether it holds}, and under "detail" what was said of the tables."""
    ran = subprocess.run([PROGRAMS / "rochdale-verify", "replay", folder, "--origin-key", key,
                          "--tables", tables, "--json"],
                         capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(ran.stdout)
    assert ran.returncode == (0 if report["ok"] else 1), ran.stderr
    found = {check["name"]: check["ok"] for check in report["checks"]}
    found["detail"] = next(c["detail"] for c in report["checks"] if c["name"] == "tables")
    return found


def test_the_ledgers_tables_are_what_its_log_gives(done, tmp_path):
    """Exported, they compare equal; a row of any table that was changed is named."""
    world, _ = done
    rows = export_tables(world, tmp_path / "tables")
    checks.wait_until_signed(world.founder, len(checks.log_bytes(world.founder)))
    folder = tmp_path / "bundle"  # of a log that has at least as many entries
    export.export(world.founder, world.slug, folder)
    key = world.server.log_key
    honest = replay(folder, key, tmp_path / "tables")
    assert all(value for name, value in honest.items()), honest
    first_of = {json.loads(row)["table"]: i for i, row in reversed(list(enumerate(rows)))}
    assert {"log", "history", "account", "network", "principal", "mandate"} <= set(first_of)
    for table, at in first_of.items():
        row = json.loads(rows[at])
        changed = next(name for name in ("debits", "version", "kyc_level", "actions", "size",
                                         "amount", "log_index", "network", "corrected")
                       if name in row)
        old = row[changed]
        row[changed] = "0" + old[1:] if isinstance(old, str) and old[0] != "0" else (
            "1" + old[1:] if isinstance(old, str) else old + 1)
        line = json.dumps(row, sort_keys=True, separators=(",", ":"))
        (tmp_path / "changed").write_text("\n".join(rows[:at] + [line] + rows[at + 1:]) + "\n")
        report = replay(folder, key, tmp_path / "changed")
        assert report["transfers"] and not report["tables"], (table, report)
        where = row.get("id") or row.get("account") or row.get("key") or row.get("name") or ""
        assert where in report["detail"], (table, report["detail"])


def test_a_member_exports_what_it_may_see(done, tmp_path, monkeypatch):
    """A member's bundle has its own statement and decisions only, no rows, and verifies as far as
    it goes."""
    monkeypatch.setattr(export, "STATE_WAIT_SECONDS", 0.0)  # everything has settled
    world, _ = done
    member = world.members[0]
    report = export.export(world.principal(member), world.slug, tmp_path / "mine")
    assert report.statements == 1
    result = verify(tmp_path / "mine", world.server.log_key, "--credits", "0")
    assert result.returncode == 0, result.stdout


def test_a_settled_epoch_is_not_settled_again(done):
    world, epoch = done
    before = {m.index: world.earned(m) for m in world.members}
    with pytest.raises(errors.FailedPrecondition) as raised:
        world.founder.admin.close_epoch(world.pool_id, 1, ROUNDS, wait=False)
    assert raised.value.reason == "EPOCH_STATE"
    assert before == {m.index: world.earned(m) for m in world.members}


def test_a_second_server_does_not_take_the_directory(done):
    world, _ = done
    second = Server(world.server.data_dir)
    second.launch()
    assert second.process.wait(timeout=20) != 0
    second.process = None
    assert checks.tree_head(world.founder)
