"""Exports against a fake, the audit of what was exported, and what becomes of both when something
was changed."""

import hashlib
import json
import shutil

import pytest

import rochdale
from fake_history import FinishedCooperative
from rochdale import audit, bundle, cli, errors, export, keys, note, tiles


@pytest.fixture(scope="module")
def finished():
    server = FinishedCooperative()
    yield server
    server.stop()


@pytest.fixture
def principal(finished, monkeypatch, tmp_path):
    monkeypatch.setenv("ROCHDALE_HOME", str(tmp_path / "home"))
    with rochdale.connect(finished.target, key=finished.principal_key, cooperative="demo",
                          identity=f"principal:{finished.principal_id}") as client:
        yield client


@pytest.fixture
def exported(finished, principal, tmp_path):
    out = tmp_path / "bundle"
    return export.export(principal, "demo", out), out


def test_a_witness_is_named_where_it_cosigned(finished, principal, tmp_path, monkeypatch):
    monkeypatch.setattr(finished, "witness", keys.KeyPair.generate())
    # Not yet at the first look: the export waits for it.
    monkeypatch.setattr(finished, "cosigned_after_calls", finished.calls["GetTreeHead"] + 2)
    out = tmp_path / "cosigned"
    export.export(principal, "demo", out)
    key = note.Key.parse((out / "log/witness.vkey").read_text())
    assert key.name == "witness.example/w" and key.algorithm == note.COSIGNATURE
    note.Note.parse((out / "log/checkpoint").read_bytes()).verify(key)
    # A witness that is away is not waited for without end, and not named.
    monkeypatch.setattr(export, "WITNESS_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(finished, "cosigned_after_calls", 10**9)
    export.export(principal, "demo", tmp_path / "alone")
    assert not (tmp_path / "alone/log/witness.vkey").exists()


def log_key(finished):
    return str(note.Key(finished.origin, finished.log_key.public_key))


def test_a_bundle_is_what_the_page_says(finished, exported):
    report, out = exported
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert set(manifest) == {"cooperative_id", "files", "format"} and manifest["format"] == 1
    assert bundle.canonical_json(manifest) == (out / "manifest.json").read_bytes()
    on_disk = {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()}
    assert on_disk == set(manifest["files"]) | {"manifest.json", "manifest.sig"}
    for path, about in manifest["files"].items():
        data = (out / path).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (about["sha256"], about["size"])
    assert not (out.parent / "bundle.partial").exists()
    size = len(finished.leaves)
    assert report.log_size == size and size > 256
    assert {"log/checkpoint", "log/origin.vkey", "log/checkpoints/3", f"log/checkpoints/{size}",
            "log/tile/0/000", f"log/tile/0/001.p/{size - 256}", "log/tile/1/000.p/1",
            "log/tile/entries/000", f"log/tile/entries/001.p/{size - 256}",
            f"rounds/{finished.round_id}.json", f"decisions/{finished.update_id}.json",
            f"decisions/{finished.refused_id}.json", f"credits/{finished.update_id}.json",
            f"statements/{finished.epoch_id}.{finished.principal_id}.json",
            f"blobs/{finished.base_sha}", f"blobs/{finished.effective_sha}"} <= on_disk
    assert (out / f"decisions/{finished.update_id}.json").read_bytes() == (
        finished.decisions[finished.update_id].body)
    credit = json.loads((out / f"credits/{finished.update_id}.json").read_bytes())
    assert set(credit) == {"credit_nanonats", "event_id", "evidence_sha256", "format", "log_index",
                           "principal_id", "round_id", "update_id"}
    assert credit["credit_nanonats"] == 700
    assert credit["evidence_sha256"] == hashlib.sha256(finished.evidence).hexdigest()
    statement = json.loads((out / "statements" / f"{finished.epoch_id}.{finished.principal_id}.json"
                            ).read_bytes())
    assert statement["payment_microtokens"] == "1500000"
    assert statement["distribution_proof"] == ["A" * 43 + "="]
    # Nobody's name is in it.
    assert not any(b"Ada" in f.read_bytes() for f in out.rglob("*") if f.is_file())
    assert report.documents == len(list((out / "documents").iterdir()))
    types = {json.loads(f.read_bytes())["type"].rsplit(".")[-1]
             for f in (out / "documents").iterdir()}
    assert types == {"Genesis", "AgentRegistration", "MembershipApplication", "RuleConsent",
                     "Mandate", "UpdateCommitment", "PoolCreation", "EpochClosing"}


def test_integers_beyond_2_53_are_texts():
    assert bundle.canonical_json({"b": [2**53, 2**53 + 1, -2**53 - 1], "a": True}) == (
        b'{"a":true,"b":[9007199254740992,"9007199254740993","-9007199254740993"]}')


def test_what_is_withheld_is_said(finished, principal, tmp_path):
    rows = json.loads(finished.evidence)["rows_sha256"]
    finished.hidden.add(rows)
    finished.updates[finished.update_id].consents_to_publication = False
    try:
        report = export.export(principal, "demo", tmp_path / "b")
    finally:
        finished.hidden.clear()
        finished.updates[finished.update_id].consents_to_publication = True
    assert not (tmp_path / "b" / "blobs" / rows).exists()
    assert not (tmp_path / "b" / "blobs" / finished.effective_sha).exists()
    assert any(rows in line for line in report.withheld)
    assert any("no consent" in line for line in report.withheld)


def test_an_export_overwrites_nothing(principal, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").touch()
    with pytest.raises(FileExistsError):
        export.export(principal, "demo", tmp_path / "b")


@pytest.mark.parametrize("lie", ["leaf", "decision", "evidence", "document", "head"])
def test_a_lying_server_is_noticed(finished, principal, tmp_path, lie, monkeypatch):
    if lie == "leaf":
        monkeypatch.setattr(finished, "leaves", [*finished.leaves])
        genuine = finished.head()
        monkeypatch.setattr(finished, "head", lambda size=0: genuine)
        finished.leaves[5] = finished.leaves[6]
    elif lie == "decision":
        monkeypatch.setitem(finished.decisions, finished.update_id, type(
            finished.decisions[finished.update_id])(body=b"{}"))
    elif lie == "evidence":
        monkeypatch.setattr(finished, "evidence", finished.evidence + b" ")
    elif lie == "document":
        digest = next(d for d, doc in finished.documents.items() if doc.type.endswith("Mandate"))
        other = next(doc for doc in finished.documents.values() if doc.type.endswith("Genesis"))
        monkeypatch.setitem(finished.documents, digest, other)
    else:
        monkeypatch.setattr(finished, "log_key", keys.KeyPair.generate())
        principal.log.key()
        monkeypatch.undo()
        monkeypatch.setenv("ROCHDALE_HOME", str(tmp_path))
    with pytest.raises((errors.VerificationFailed, note.NoteError, errors.DataLoss)):
        export.export(principal, "demo", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_chain_ends_at_the_principals_signature(finished, exported):
    _, out = exported
    chain = audit.chain(audit.BundleSource(out, log_key(finished)), finished.transfer_id)
    text = str(chain)
    assert chain.ok, text
    assert text.endswith(f"authorised by the signature of principal {finished.principal_id} "
                         f"(key {finished.principal_key.public_hex})")
    for word in ("transfer", "statement of principal", "credit of update", "decision on update",
                 "commitment of agent", "registration of agent", "mandate",
                 "MEMBERSHIP_CONSENTED", "PRINCIPAL_REGISTERED", "EPOCH_CLOSED"):
        assert word in text, word
    unchecked = [c for c in chain.root.all_checks() if c.ok is None]
    # Only the registration's document stays with its signer.
    assert len(unchecked) == 1 and finished.principal_key.public_hex in unchecked[0].what
    assert "self-consistent only" in str(audit.chain(audit.BundleSource(out), finished.transfer_id))


def test_the_chain_online(finished, principal):
    chain = audit.chain(audit.OnlineSource(principal), finished.transfer_id)
    assert chain.ok, str(chain)
    assert "first use" in chain.trust
    json.dumps(chain.to_dict())


def test_an_unknown_payment(finished, exported):
    chain = audit.chain(audit.BundleSource(exported[1]), finished.round_id)
    assert not chain.ok and chain.failures


def test_another_log_key(finished, exported):
    other = str(note.Key(finished.origin, keys.KeyPair.generate().public_key))
    with pytest.raises(errors.VerificationFailed):
        audit.BundleSource(exported[1], other)


def test_every_changed_file_is_named(finished, exported):
    _, out = exported
    files = sorted(f for f in out.rglob("*") if f.is_file())
    for number, file in enumerate(files):
        data = file.read_bytes()
        at = number * 7919 % len(data)
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        with pytest.raises((errors.VerificationFailed, note.NoteError, UnicodeDecodeError)):
            audit.BundleSource(out, log_key(finished))
        file.write_bytes(data)
    assert audit.BundleSource(out).checkpoint.size == len(finished.leaves)


def resign(finished, out):
    """A bundle whose maker holds the log's key and lies: manifest and signature made anew."""
    listed = {}
    for file in out.rglob("*"):
        path = str(file.relative_to(out))
        if file.is_file() and path not in ("manifest.json", "manifest.sig"):
            data = file.read_bytes()
            listed[path] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest = bundle.canonical_json({"cooperative_id": finished.cooperative_id, "files": listed,
                                      "format": 1})
    (out / "manifest.json").write_bytes(manifest)
    digest = hashlib.sha256(manifest).hexdigest()
    (out / "manifest.sig").write_text(note.sign(
        finished.origin, finished.log_key, f"{bundle.MANIFEST_TITLE}\n{digest}\n"))


@pytest.mark.parametrize("what", ["decision", "document", "evidence", "tile"])
def test_what_a_resigned_bundle_cannot_hide(finished, exported, what):
    _, out = exported
    if what == "decision":
        file = out / f"decisions/{finished.update_id}.json"
        file.write_bytes(file.read_bytes().replace(b"1}", b"2}"))
    elif what == "evidence":
        file = out / f"rounds/{finished.round_id}.json"
        file.write_bytes(file.read_bytes().replace(b"700", b"900"))
    elif what == "document":
        digest = next(d for d, doc in finished.documents.items() if doc.type.endswith("Mandate"))
        other = next(d for d, doc in finished.documents.items() if doc.type.endswith("Genesis"))
        shutil.copy(out / f"documents/{other}.json", out / f"documents/{digest}.json")
    else:
        file = out / tiles_path(finished)
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    resign(finished, out)
    if what == "tile":
        with pytest.raises(errors.VerificationFailed):
            audit.BundleSource(out)
        return
    chain = audit.chain(audit.BundleSource(out), finished.transfer_id)
    assert not chain.ok and chain.failures


def tiles_path(finished):
    return "log/" + tiles.path("entries", 1, len(finished.leaves) - 256)


# ---- The command ----

def run(finished, capsys, *words):
    status = cli.main([*words, "--target", finished.target])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def configured(finished, monkeypatch, tmp_path):
    key = finished.principal_key.save(tmp_path / "key")
    monkeypatch.setenv("ROCHDALE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROCHDALE_KEY", str(key))
    monkeypatch.setenv("ROCHDALE_IDENTITY", f"principal:{finished.principal_id}")
    monkeypatch.setenv("ROCHDALE_COOPERATIVE", "demo")


@pytest.mark.parametrize("words, expected", [
    (["whoami"], "principal:"), (["coop", "show"], "Demo (demo)"), (["round", "show"], "CLOSED"),
    (["round", "show", "1"], "SETTLED"), (["statement"], "1.500000 tokens"),
    (["round", "watch", "--timeout", "0.1"], "round 1 CLOSED")])
def test_commands(finished, configured, capsys, words, expected):
    status, out, err = run(finished, capsys, *words)
    assert status == 0 and expected in out and err == ""
    status, out, _ = run(finished, capsys, *words, "--json")
    assert status == 0
    json.loads(out)


def test_update_show_and_receipts(finished, configured, capsys, tmp_path):
    status, out, _ = run(finished, capsys, "update", "show", finished.update_id)
    assert status == 0 and "settled" in out
    file = tmp_path / "receipt"
    assert run(finished, capsys, "receipt", finished.update_id, "--out", str(file))[0] == 0
    status, out, _ = run(finished, capsys, "verify", "receipt", str(file))
    assert status == 0 and "verified" in out and "first use" in out
    # With a key no server is needed.
    status = cli.main(["verify", "receipt", str(file), "--log-key", log_key(finished), "--json"])
    assert status == 0 and json.loads(capsys.readouterr().out)["pinned"]
    file.write_text(file.read_text().replace("index ", "index 1"))
    assert run(finished, capsys, "verify", "receipt", str(file))[0] == cli.EXIT_NOT_VERIFIED


def test_export_and_audit_commands(finished, configured, capsys, tmp_path):
    out = tmp_path / "b"
    status, text, _ = run(finished, capsys, "export", "--out", str(out), "--all-statements")
    assert status == 0 and "1 statements" in text
    words = ["audit", "chain", "--bundle", str(out), "--payment", finished.transfer_id]
    status = cli.main([*words, "--log-key", str(out / "log/origin.vkey")])
    assert status == 0 and "authorised by the signature of principal" in capsys.readouterr().out
    status, _, _ = run(finished, capsys, "audit", "chain", "--payment", finished.transfer_id)
    assert status == 0
    status, _, _ = run(finished, capsys, "audit", "chain", "--payment", finished.round_id)
    assert status == cli.EXIT_NOT_VERIFIED
    (out / "log/checkpoint").write_text("nothing")
    status = cli.main(words)
    assert status == cli.EXIT_NOT_VERIFIED and "log/checkpoint" in capsys.readouterr().err


def test_errors_of_commands(finished, configured, capsys, tmp_path):
    status, out, err = run(finished, capsys, "update", "show", "no-such", "--json")
    assert status == cli.EXIT_ERROR and out == "" and json.loads(err)["reason"] == "NOT_FOUND"
    assert cli.main(["keys", "new", "--out", str(tmp_path / "key")]) == cli.EXIT_ERROR
    assert cli.main(["keys", "new", "--out", str(tmp_path / "other")]) == 0


def test_a_signature_that_is_not_shown_is_not_counted(finished, principal, tmp_path):
    mandate = next(d for d, doc in finished.documents.items() if doc.type.endswith("Mandate"))
    finished.hidden.add(mandate)
    try:
        report = export.export(principal, "demo", tmp_path / "b")
    finally:
        finished.hidden.clear()
    assert "1 documents of MANDATE_GRANTED: not shown to this caller" in report.withheld
    chain = audit.chain(audit.BundleSource(tmp_path / "b"), finished.transfer_id)
    assert not chain.failures and not chain.ok and not chain.authorities
    assert "document is not shown here" in str(chain)
