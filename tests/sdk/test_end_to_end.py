"""The ten lines, exports, audits and the command against rochdale-standalone with its PostgreSQL.
Skipped where the server is not built."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rochdale
from rochdale import audit, cli, errors, export

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(os.environ.get("ROCHDALE_PROGRAMS", ROOT / "build" / "release" / "bin"))
ROUNDS, REVENUE = 2, 1_000_000_000

pytestmark = pytest.mark.skipif(not (PROGRAMS / "rochdale-standalone").exists(),
                                reason="rochdale-standalone is not built")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A cooperative after two rounds and one settled epoch."""
    sys.path.insert(0, str(ROOT / "tests" / "system"))
    from cooperative import Server, World
    folder = tmp_path_factory.mktemp("sdk")
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    with Server(folder / "data") as server:
        world = World(server).found()
        world.start_training(rounds=ROUNDS)
        world.play(1)
        world.play(ROUNDS)
        world.settle(1, ROUNDS, revenue=REVENUE)
        yield world
        world.close()


@pytest.fixture
def paid(world):
    """(member, statement) of one who was paid."""
    for member in world.members:
        for statement in world.principal(member).statement():
            if statement.payment_microtokens:
                return member, statement
    raise AssertionError("nobody was paid")


@pytest.fixture(scope="module")
def bundle(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "bundle"
    return export.export(world.founder, world.slug, out, all_statements=True), out


def test_statements_add_up(world):
    found = [s for m in world.members for s in world.principal(m).statement()]
    assert sum(s.payment_microtokens for s in found) == REVENUE
    assert all(s.paid for s in found if s.payment_microtokens)


def test_an_agent_sees_its_updates_explained_and_proved(world, paid):
    member, statement = paid
    client = world.agent(member)
    for line in statement.lines:
        update = client.update(line.update_id)
        assert update.explain().startswith(f"update {update.id}: ")
        for step, receipt in update.receipts().items():
            found = client.verify(receipt)
            assert found and found.pinned, (step, found.detail)
            assert not client.verify(receipt.to_text().replace("index ", "index 9"))
    csv = client.statement().to_csv()
    assert all(line.update_id in csv for line in statement.lines)


def test_reasons_of_the_real_services(world):
    member = world.members[0]
    agent = world.agent(member)
    with pytest.raises(errors.NotFound):
        agent.update(world.id("nothing"))
    with pytest.raises(errors.RoundUnavailable):
        agent.round().join(timeout=0.5)
    with pytest.raises(errors.AlreadyExists):
        with world.connect(member.key) as again:
            again.admin.register_principal("Again")
    with pytest.raises(errors.Unauthenticated):
        with world.connect(rochdale.KeyPair.generate(),
                           f"agent:{member.agent_id}") as stranger:
            stranger.statement()
    with pytest.raises(errors.TransferRefused) as caught:
        world.founder.admin.transfer(world.source_account(), world.pool().account_id, 10**15,
                                     "REVENUE")
    assert caught.value.reason == "INSUFFICIENT_FUNDS"


def entry_of(world, ref):
    """The entry, once it is in the log."""
    from rochdale import entry as entries, protos
    world.founder.money.wait_until_logged(ref.event_id)
    found = world.founder.transport.call("ledger", "GetEntry", protos.ledger.GetEntryRequest(
        event_id=ref.event_id)).entry
    return entries.decode(found.entry)


def test_a_verifier_attests_what_a_principal_may_send(world):
    member, attest = world.members[1], world.founder.admin.attest_kyc
    principal = attest(member.principal_id, 2, seconds=3600)
    entry = entry_of(world, principal.kyc_entry)
    assert (principal.kyc_level, entry.kind, entry.subject) == (
        2, "KYC_ATTESTED", member.principal_id)
    assert entry.fields["kyc_level"] == 2
    assert entry.fields["expires_us"] == principal.kyc_expires_us
    with pytest.raises(errors.RochdaleError) as raised:
        world.principal(member).admin.attest_kyc(member.principal_id, 3)
    assert raised.value.reason == "KYC_VERIFIER_UNKNOWN"
    with pytest.raises(errors.RochdaleError) as raised:
        attest(member.principal_id, 3, signed_time_us=principal.kyc_expires_us - 3_600_000_000)
    assert raised.value.reason == "KYC_ATTESTATION_STALE"
    # The signature decides: a verifier need not be anybody here.
    with world.connect(world.founder_key) as nobody:
        assert nobody.admin.attest_kyc(member.principal_id, 1).kyc_level == 1


def test_an_attestation_names_owners_that_only_verifiers_can_make(world):
    from rochdale import admin
    member, key = world.members[1], b"k" * 32
    owner = admin.owner_id(key, "NL KvK 12345678")
    assert owner == admin.owner_id(key, " NL KvK １２３４５６７８ ")
    assert owner != admin.owner_id(b"l" * 32, "NL KvK 12345678")
    for wrong in ((b"short", "x"), (key, " ")):
        with pytest.raises(ValueError):
            admin.owner_id(*wrong)
    principal = world.founder.admin.attest_kyc(member.principal_id, 1, beneficial_owners=[owner])
    assert list(principal.beneficial_owners) == [owner]
    entry = entry_of(world, principal.kyc_entry)
    assert entry.hex("owners") == owner


def test_the_command_attests(world, capsys, tmp_path):
    member, key = world.members[1], str(world.founder_key.save(tmp_path / "verifier"))
    server = ["--target", world.server.target, "--key", key]
    assert cli.main(["kyc", "attest", member.principal_id, "--level", "1", "--days", "2",
                     *server]) == 0
    assert f"{member.principal_id}  KYC level 1, until " in capsys.readouterr().out
    whoever = ["--identity", f"principal:{world.founder_id}"]
    assert cli.main(["kyc", "show", member.principal_id, *server, *whoever, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kyc_level"] == 1
    assert cli.main(["kyc", "attest", world.id("nobody"), "--level", "1", *server, "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["reason"] == "NOT_FOUND"


def test_a_mandate_to_spend_says_how_much(world):
    member = world.members[2]
    granted = world.principal(member).admin.grant_mandate(
        member.agent_id, actions=("SUBMIT_UPDATE", "SPEND"), consents_to_publication=True,
        budget_per_day_microtokens=5, budget_total_microtokens=50,
        counterparty_account_ids=[world.members[0].account_id])
    fields = entry_of(world, granted.entry).fields
    assert fields["actions"] == 1 << 1 | 1 << 2
    assert (fields["budget_per_day"], fields["budget_total"]) == (5, 50)
    assert bytes(fields["counterparties"]).hex() == world.members[0].account_id.replace("-", "")
    assert fields["not_before_us"] == granted.mandate.not_before_us


def verify(bundle, world, *options):
    verifier = PROGRAMS / "rochdale-verify"
    if not verifier.exists():
        pytest.skip("rochdale-verify is not built")
    return subprocess.run([verifier, "bundle", bundle, "--origin-key", world.server.log_key,
                           *options],
                          capture_output=True, text=True)


def test_the_bundle_satisfies_the_verifier(world, bundle):
    report, out = bundle
    assert report.credits >= 1 and report.rounds == ROUNDS and report.statements >= 1
    done = verify(out, world)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{report}"
    # Every document that an entry of the cooperative names is in it.
    assert not [line for line in report.withheld if "documents" in line]
    file = next((out / "credits").iterdir())
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"credit_nanonats":', b'"credit_nanonats":1'))
    done = verify(out, world)
    file.write_bytes(data)
    assert done.returncode != 0 and file.name in done.stdout + done.stderr


def test_the_chain_of_every_payment(world, bundle):
    source = audit.BundleSource(bundle[1], world.server.log_key)
    for member in world.members:
        for statement in world.principal(member).statement():
            if not statement.payment_microtokens:
                continue
            for place in (source, audit.OnlineSource(world.founder)):
                chain = audit.chain(place, statement.transfer_id)
                assert chain.ok, str(chain)
                assert chain.authorities == [(member.principal_id, member.key.public_hex)]


def test_the_command(world, paid, bundle, capsys, tmp_path, monkeypatch):
    member, statement = paid
    monkeypatch.setenv("ROCHDALE_KEY", str(member.key.save(tmp_path / "key")))
    monkeypatch.setenv("ROCHDALE_IDENTITY", f"principal:{member.principal_id}")
    monkeypatch.setenv("ROCHDALE_COOPERATIVE", world.slug)
    update = statement.lines[0].update_id
    receipt = str(tmp_path / "receipt")
    for words in (["whoami"], ["coop", "show"], ["round", "show"], ["round", "show", "1"],
                  ["update", "show", update], ["statement"], ["parameters", "list"],
                  ["receipt", update, "--out", receipt], ["verify", "receipt", receipt],
                  ["audit", "chain", "--payment", statement.transfer_id],
                  ["export", "--out", str(tmp_path / "own"), "--quiet"]):
        assert cli.main([*words, "--target", world.server.target, "--json"]) == 0, words
        json.loads(capsys.readouterr().out)
    # Nobody else's statements are in a member's own bundle.
    own = [f.name for f in (tmp_path / "own" / "statements").iterdir()]
    assert own and all(member.principal_id in name for name in own)
    # Other members' updates and the retired rows are for founders: nothing can be evaluated again.
    done = verify(tmp_path / "own", world, "--credits", "0")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
