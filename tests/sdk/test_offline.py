"""What needs no server: keys, documents, tokens, errors, tables, tensors."""

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from rochdale import documents, errors, explain, keys, protos, statements, tensors, tokens

ROOT = Path(__file__).resolve().parent.parent.parent
AGENT = "agent:0f0e0d0c-0b0a-4908-8706-050403020100"


# ---- Keys ----

def test_key_files(tmp_path):
    key = keys.KeyPair.generate()
    path = key.save(tmp_path / "deep" / "key")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == bytes(key._key).hex() + "\n"
    assert keys.KeyPair.load(path).public_key == key.public_key
    assert bytes(key._key).hex() not in repr(key)
    with pytest.raises(FileExistsError):
        key.save(path)
    os.chmod(path, 0o640)
    with pytest.raises(PermissionError):
        keys.KeyPair.load(path)
    for text in ("", "zz" * 32, "00" * 31, "00" * 33):
        bad = tmp_path / "bad"
        bad.write_text(text)
        os.chmod(bad, 0o600)
        with pytest.raises(ValueError):
            keys.KeyPair.load(bad)


def test_rfc8032_vector():
    # RFC 8032, 7.1, test 2.
    key = keys.KeyPair(bytes.fromhex(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public_hex == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = key.sign(b"\x72")
    assert signature.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
    assert keys.verify(key.public_key, b"\x72", signature)
    for bad in ((key.public_key, b"\x73", signature), (key.public_key, b"\x72", signature[:-1]),
                (key.public_key[:-1], b"\x72", signature), (bytes(32), b"\x72", signature),
                (key.public_key, b"\x72", bytes(64))):
        assert not keys.verify(*bad)


def test_derived_ids_are_stable_secret_and_unambiguous():
    key = keys.KeyPair(bytes(32))
    assert key.derived_id("a", "b") == key.derived_id("a", "b")
    others = {key.derived_id("ab"), key.derived_id("a", "b"), key.derived_id("", "ab"),
              keys.KeyPair(bytes([1] * 32)).derived_id("a", "b")}
    assert len(others) == 4
    # Version 8 is kept for the services.
    assert all(i[14] == "4" for i in others)


# ---- Documents ----

def test_pae_by_hand():
    assert documents.pae("a.B", "ü".encode()) == b"ROCHDALEv1 3 a.B 2 \xc3\xbc"
    assert documents.pae("", b"") == b"ROCHDALEv1 0  0 "


def test_signed_document():
    key = keys.KeyPair.generate()
    mandate = protos.governance.Mandate(mandate_id="m", expires_us=2**60,
                                         consents_to_publication=True,
                                        actions=["MANDATE_ACTION_SUBMIT_UPDATE"])
    document = documents.sign(key, mandate)
    assert document.type == "rochdale.governance.v1.Mandate"
    # proto3 JSON: camel case, 64-bit integers as texts, words for enums; compact.
    assert document.body == (b'{"mandateId":"m","actions":["MANDATE_ACTION_SUBMIT_UPDATE"],'
                             b'"expiresUs":"1152921504606846976","consentsToPublication":true}')
    assert documents.is_valid(document)
    assert documents.digest(document) == hashlib.sha256(
        b"ROCHDALEv1 30 rochdale.governance.v1.Mandate %d " % len(document.body)
        + document.body).hexdigest()
    assert documents.decode(document) == mandate
    again = documents.from_json(documents.to_json(document))
    assert again == document
    assert json.loads(documents.to_json(document)) == {
        "type": document.type, "body": base64.b64encode(document.body).decode(),
        "public_key": key.public_hex, "signature": document.signature.hex()}


@pytest.mark.parametrize("field, value", [
    ("type", "rochdale.governance.v1.Mandatf"), ("type", "ü"), ("body", b"{}"),
    ("public_key", bytes(32)), ("public_key", b""), ("signature", bytes(64)), ("signature", b"x")])
def test_changed_documents_are_not_valid(field, value):
    document = documents.sign(keys.KeyPair.generate(), protos.governance.Mandate(mandate_id="m"))
    setattr(document, field, value)
    assert not documents.is_valid(document)


def test_bodies_that_do_not_decode():
    for type_name, body in (("no.such.Type", b"{}"), ("rochdale.governance.v1.Mandate", b"{"),
                            ("rochdale.governance.v1.Mandate", b'{"unknown":1}'),
                            ("rochdale.governance.v1.Mandate", b"\xff"),
                            ("rochdale.governance.v1.Mandate", b'{"expiresUs":"x"}')):
        with pytest.raises(ValueError):
            documents.decode(protos.common.SignedDocument(type=type_name, body=body))
    for text in (b"", b"[]", b"{}", b'{"body":1,"public_key":"","signature":"","type":""}'):
        with pytest.raises(ValueError):
            documents.from_json(text)


def test_a_document_has_a_limit():
    with pytest.raises(ValueError):
        documents.sign(keys.KeyPair.generate(), protos.filter.ValueProfile(explanation="x" * 2**18))


# ---- Tokens ----

def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_token_is_what_the_servers_demand():
    key = keys.KeyPair.generate()
    token = tokens.sign_token(key, AGENT, 1_700_000_000)
    head, body, signature = token.split(".")
    assert "=" not in token
    assert json.loads(unbase64(head)) == {"alg": "EdDSA", "typ": "JWT", "kid": key.public_hex}
    claims = json.loads(unbase64(body))
    assert set(claims) == {"sub", "aud", "iat", "exp", "jti"}
    assert (claims["sub"], claims["aud"], claims["iat"]) == (AGENT, "rochdale", 1_700_000_000)
    assert 0 < claims["exp"] - claims["iat"] <= 15 * 60 and 1 <= len(claims["jti"]) <= 64
    assert keys.verify(key.public_key, f"{head}.{body}".encode(), unbase64(signature))


def test_tokens_are_kept_for_half_their_life():
    now = [1000.0]
    source = tokens.TokenSource(keys.KeyPair.generate(), AGENT, clock=lambda: now[0])
    first = source.token()
    now[0] += tokens.LIFE_SECONDS / 2 - 1
    assert source.token() == first
    now[0] += 2
    second = source.token()
    assert second != first
    now[0] -= 2 * tokens.LIFE_SECONDS  # the clock was set back
    third = source.token()
    assert third != second
    source.forget()
    assert source.token() != third


@pytest.mark.parametrize("subject", ["", "agent:", "agent:" + "0" * 36, AGENT.upper(), "me",
                                     AGENT + " ", "root:0f0e0d0c-0b0a-4908-8706-050403020100"])
def test_identities_that_are_none(subject):
    with pytest.raises(ValueError):
        tokens.check_subject(subject)


# ---- Errors ----

class FakeRpcError(grpc.RpcError):
    def __init__(self, code, details, trailers):
        self._code, self._details, self._trailers = code, details, trailers

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return self._trailers


def packed(*details):
    wire = protos.status.Status()
    for name, message in details:
        wire.details.add(type_url="type.googleapis.com/google.rpc." + name,
                         value=message.SerializeToString())
    return wire.SerializeToString()


def test_rich_errors():
    d = protos.error_details
    bad = d.BadRequest(field_violations=[{"field": "a.b", "description": "must be odd"}])
    retry = d.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    raw = packed(("ErrorInfo", d.ErrorInfo(reason="CONSENT_OUTDATED", domain="rochdale")),
                 ("BadRequest", bad), ("RetryInfo", retry), ("Unknown", d.RequestInfo()))
    error = errors.from_rpc(FakeRpcError(grpc.StatusCode.FAILED_PRECONDITION, "read the rules",
                                         ((errors.DETAILS_KEY, raw),)))
    assert isinstance(error, errors.FailedPrecondition)
    assert (error.reason, error.code) == ("CONSENT_OUTDATED", "FAILED_PRECONDITION")
    assert error.field_violations == [("a.b", "must be odd")] and error.retry_after == 1.5
    assert "read the rules" in str(error) and "a.b: must be odd" in str(error)
    assert "admin.consent" in str(error)


@pytest.mark.parametrize("trailers", [None, (), ((errors.DETAILS_KEY, b"\xff\xff"),),
                                      (("other", b"x"),)])
def test_errors_without_details(trailers):
    error = errors.from_rpc(FakeRpcError(grpc.StatusCode.NOT_FOUND, None, trailers))
    assert isinstance(error, errors.NotFound) and error.reason == ""


def test_a_foreign_domain_is_no_reason():
    raw = packed(("ErrorInfo", protos.error_details.ErrorInfo(reason="X", domain="other")))
    assert errors.from_details("UNAVAILABLE", "", raw).reason == ""


def test_every_reason_has_a_class_and_advice():
    for reason, (code, meaning) in protos.reasons.REASONS.items():
        raw = packed(("ErrorInfo", protos.error_details.ErrorInfo(reason=reason,
                                                                  domain="rochdale")))
        error = errors.from_details(code, "m", raw)
        assert error.advice and meaning
        assert type(error) is not errors.RochdaleError or code == "CANCELLED", reason
    # Advice of the SDK's own is for reasons that exist.
    assert set(errors._ADVICE) <= set(protos.reasons.REASONS)


# ---- Statements, explanations ----

def test_statement_tables():
    line = protos.payout.StatementLine(round_number=3, update_id="u", outcome="APPLIED",
                                       credit_nanonats=7)
    item = protos.payout.Statement(epoch_id="e", payment_microtokens=5, credit_nanonats=7,
                                   lines=[line, line])
    found = statements.Statements([item])
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == 2 and rows[0]["round_number"] == "3"
    assert sum(int(r["payment_microtokens"]) for r in rows) == found.payment_microtokens == 5
    assert "APPLIED" in str(found) and "no statements" in str(statements.Statements([]))


def test_every_state_has_words():
    for name, value in protos.filter.UpdateState.items():
        if value:
            text = explain.explain(protos.filter.Update(update_id="u", state=value))
            assert text.startswith("update u: ") and name.removeprefix("UPDATE_STATE_") not in text


# ---- Tensors ----

def test_torch_is_not_imported():
    code = "import rochdale, sys; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    path = str(ROOT / "sdk" / "python")
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}).returncode == 0


def test_missing_generated_code_names_the_command(tmp_path):
    import shutil
    shutil.copytree(ROOT / "sdk/python/rochdale", tmp_path / "rochdale",
                    ignore=shutil.ignore_patterns("_proto", "__pycache__", ".generate-*"))
    done = subprocess.run([sys.executable, "-c", "import rochdale"], capture_output=True, text=True,
                          env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode != 0 and "scripts/generate-sdk" in done.stderr


def test_dataset_blobs():
    inputs, labels = np.arange(24, dtype="u1").reshape(4, 2, 3), np.array([0, 1, 2, 9])
    blob = tensors.dataset_blob(inputs, labels)
    back_inputs, back_labels = tensors.dataset_from_blob(blob)
    np.testing.assert_array_equal(back_inputs, inputs.reshape(4, 6))
    np.testing.assert_array_equal(back_labels, labels)
    for bad in ((inputs, labels[:3]), (inputs.astype("f4"), labels), (inputs, labels + 300),
                (inputs, -labels), (inputs[:0], labels[:0])):
        with pytest.raises(ValueError):
            tensors.dataset_blob(*bad)


def test_a_delta_is_a_difference_in_f32():
    base = {"w": np.float32([1.0, 2.0])}
    delta = tensors.delta_of({"w": np.float64([1.1, 2.0])}, base)
    assert delta["w"].dtype == np.float32
    assert delta["w"][0] == np.float32(1.1) - np.float32(1.0) and delta["w"][1] == 0
