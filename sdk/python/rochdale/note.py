"""C2SP signed notes (c2sp.org/signed-note) and the checkpoints of a log in them, strictly.

A note is a text that ends in a newline, an empty line, and signature lines
    "— " key name " " base64(key id, 4 bytes big-endian | signature)
"""

import base64
import binascii
import dataclasses
import hashlib
import re

from rochdale import keys

ED25519 = 1
COSIGNATURE = 4
NOTE_BYTES_MAX = 256 * 1024
SIGNATURES_MAX = 64
_DASH = "\u2014 "
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """Not a note, or not signed by the key."""


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise NoteError("not the one spelling of base64")
    return data


def is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


@dataclasses.dataclass(frozen=True)
class Key:
    """Whose signature a note may carry. Text form: name+8 hexadecimal digits+base64."""
    name: str
    public_key: bytes
    algorithm: int = ED25519

    @property
    def id(self) -> bytes:
        material = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return hashlib.sha256(material).digest()[:4]

    def __str__(self):
        body = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.id.hex()}+{body}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        parts = text.strip("\n").split("+", 2)
        if len(parts) != 3:
            raise NoteError("a verifier key is name+id+base64")
        data = _decode(parts[2])
        if len(data) != 33 or data[0] not in (ED25519, COSIGNATURE) or not is_name(parts[0]):
            raise NoteError("not an Ed25519 verifier key")
        key = cls(parts[0], data[1:], data[0])
        if key.id.hex() != parts[1]:
            raise NoteError("the id of the verifier key does not follow from it")
        return key


@dataclasses.dataclass(frozen=True)
class Note:
    text: str
    signatures: tuple  # of (name, key id, signature bytes)

    @classmethod
    def parse(cls, data: bytes | str) -> "Note":
        try:
            text = data if isinstance(data, str) else data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NoteError("not UTF-8") from error
        if len(text.encode()) > NOTE_BYTES_MAX:
            raise NoteError("a note has at most 256 KiB")
        if any(ord(c) < 0x20 and c != "\n" or c == "\x7f" for c in text):
            raise NoteError("a note has no control characters")
        body, gap, tail = text.rpartition("\n\n")
        if not gap or not tail.endswith("\n"):
            raise NoteError("a note has a text, an empty line and signatures")
        lines = tail[:-1].split("\n")
        if not body or len(lines) > SIGNATURES_MAX:
            raise NoteError("a note has a text and 1 to 64 signatures")
        signatures = []
        for line in lines:
            name, space, encoded = line.removeprefix(_DASH).partition(" ")
            if not line.startswith(_DASH) or not space or not is_name(name):
                raise NoteError("a signature line is malformed")
            raw = _decode(encoded)
            if len(raw) < 5:
                raise NoteError("a signature is too short")
            signatures.append((name, raw[:4], raw[4:]))
        return cls(body + "\n", tuple(signatures))

    def verify(self, key: Key) -> None:
        """NoteError unless exactly one signature line is the key's and it verifies."""
        own = [s for name, key_id, s in self.signatures if (name, key_id) == (key.name, key.id)]
        if len(own) != 1:
            raise NoteError(f"{len(own)} signatures are of {key.name}+{key.id.hex()}, not 1")
        message, signature = self.text.encode(), own[0]
        if key.algorithm == COSIGNATURE:
            time_s, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = b"cosignature/v1\ntime %d\n" % time_s + message
        if not keys.verify(key.public_key, message, signature):
            raise NoteError(f"the signature of {key.name} does not verify")


def cosigner(data: bytes | str, keys_wanted) -> Key | None:
    """The first of the witnesses' verifier keys (text) whose cosignature the note carries."""
    parsed = Note.parse(data)
    for text in keys_wanted:
        key = Key.parse(text)
        try:
            parsed.verify(key)
        except NoteError:
            continue
        return key
    return None


def sign(name: str, key: "keys.KeyPair", text: str) -> str:
    """A note of one signature, for tests and tools."""
    signature = Key(name, key.public_key).id + key.sign(text.encode())
    return f"{text}\n{_DASH}{name} {base64.b64encode(signature).decode()}\n"


def cosignature_line(name: str, key: "keys.KeyPair", text: str, time_s: int) -> str:
    """The signature line of a witness under a checkpoint's text, for tests and tools."""
    message = b"cosignature/v1\ntime %d\n" % time_s + text.encode()
    raw = (Key(name, key.public_key, COSIGNATURE).id + time_s.to_bytes(8, "big")
           + key.sign(message))
    return f"{_DASH}{name} {base64.b64encode(raw).decode()}\n"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A log's signed tree head: origin, size and root."""
    origin: str
    size: int
    root: bytes

    @classmethod
    def parse_text(cls, text: str) -> "Checkpoint":
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] != "" or not lines[0] or not _DECIMAL.fullmatch(lines[1]):
            raise NoteError("a checkpoint has the lines origin, size and root")
        root = _decode(lines[2])
        if len(root) != 32:
            raise NoteError("a root has 32 bytes")
        return cls(lines[0], int(lines[1]), root)

    @classmethod
    def open(cls, data: bytes | str, key: Key) -> "Checkpoint":
        """The checkpoint in a note, verified under the log's key. NoteError."""
        note = Note.parse(data)
        note.verify(key)
        checkpoint = cls.parse_text(note.text)
        if checkpoint.origin != key.name:
            raise NoteError(f"the log calls itself {checkpoint.origin}, the key is of {key.name}")
        return checkpoint

    def to_text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"
