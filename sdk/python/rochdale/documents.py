"""Signed documents: what people and agents sign are the exact bytes they send.

The signature is Ed25519 over
    "ROCHDALEv1" SP len(type) SP type SP len(body) SP body      (lengths in decimal ASCII)
and the document's digest, by which the log names it, is the SHA-256 of those bytes.
"""

import base64
import hashlib
import json
import time

from google.protobuf import json_format, symbol_database

from rochdale import protos
from rochdale.keys import KeyPair, verify

TYPE_CHARS_MAX = 128
BODY_BYTES_MAX = 256 * 1024


def now_us() -> int:
    """Unix microseconds, for the signed_time_us of documents."""
    return time.time_ns() // 1000


def pae(type_name: str, body: bytes) -> bytes:
    """The bytes that are signed."""
    name = type_name.encode("ascii")
    return b"ROCHDALEv1 %d %s %d %s" % (len(name), name, len(body), body)


def encode(message) -> bytes:
    """A message as compact proto3 JSON, UTF-8."""
    return json.dumps(json_format.MessageToDict(message), separators=(",", ":"),
                      ensure_ascii=False).encode()


def sign(key: KeyPair, message) -> "protos.common.SignedDocument":
    """Signs a message as a document. ValueError beyond 256 KiB."""
    type_name, body = message.DESCRIPTOR.full_name, encode(message)
    if len(type_name) > TYPE_CHARS_MAX or len(body) > BODY_BYTES_MAX:
        raise ValueError(f"a document has at most {BODY_BYTES_MAX} bytes, not {len(body)}")
    return protos.common.SignedDocument(type=type_name, body=body, public_key=key.public_key,
                                        signature=key.sign(pae(type_name, body)))


def digest(document) -> str:
    """The document's name in the log: SHA-256 of its signed bytes, hexadecimal."""
    return hashlib.sha256(pae(document.type, document.body)).hexdigest()


def is_valid(document) -> bool:
    """Whether the signature is that of the key the document names. Says nothing of whose key."""
    try:
        signed = pae(document.type, document.body)
    except UnicodeEncodeError:
        return False
    return verify(document.public_key, signed, document.signature)


def decode(document):
    """The message in the body. ValueError for unknown types, unknown fields and bad JSON."""
    try:
        message = symbol_database.Default().GetSymbol(document.type)()
    except KeyError as error:
        raise ValueError(f"no message is called {document.type!r}") from error
    try:
        return json_format.Parse(document.body, message)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"not a {document.type}: {error}") from error


def to_json(document) -> bytes:
    """The form of documents/<sha256>.json in an evidence bundle."""
    return json.dumps({
        "body": base64.b64encode(document.body).decode(),
        "public_key": document.public_key.hex(),
        "signature": document.signature.hex(),
        "type": document.type,
    }, sort_keys=True, separators=(",", ":")).encode()


def from_json(text: bytes) -> "protos.common.SignedDocument":
    """The inverse of to_json. ValueError for anything else."""
    try:
        fields = json.loads(text)
        if set(fields) != {"body", "public_key", "signature", "type"}:
            raise ValueError("other fields than body, public_key, signature and type")
        return protos.common.SignedDocument(
            type=fields["type"], body=base64.b64decode(fields["body"], validate=True),
            public_key=bytes.fromhex(fields["public_key"]),
            signature=bytes.fromhex(fields["signature"]))
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a signed document: {error}") from error
