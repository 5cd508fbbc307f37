"""Ed25519 keys of people and agents, and the files they live in.

A key file holds the 32-byte seed as 64 hexadecimal digits and a newline, readable by its owner
only (mode 0600). A file that others can read is refused, as ssh does.
"""

import hashlib
import hmac
import os
import stat
import uuid
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

SEED_BYTES = 32
KEY_BYTES = 32
SIGNATURE_BYTES = 64


class KeyPair:
    """A signing key. Immutable; safe to share between threads."""

    def __init__(self, seed: bytes):
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        self._key = SigningKey(seed)

    @classmethod
    def generate(cls) -> "KeyPair":
        return cls(os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, path) -> "KeyPair":
        path = Path(path)
        with open(path, "r", encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise PermissionError(
                    f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
            text = file.read(2 * SEED_BYTES + 2).strip()
        try:
            return cls(bytes.fromhex(text))
        except ValueError as error:
            raise ValueError(f"{path} is not a key file (64 hexadecimal digits)") from error

    def save(self, path, overwrite: bool = False) -> Path:
        """Writes the key file, mode 0600 from the start. FileExistsError where there is one."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL)
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(bytes(self._key).hex() + "\n")
        return path

    @property
    def public_key(self) -> bytes:
        return bytes(self._key.verify_key)

    @property
    def public_hex(self) -> str:
        return self.public_key.hex()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message).signature

    def derived_id(self, *parts: str) -> str:
        """A UUID that follows from this key and `parts`: the same again after a restart, so that a
        repeated step is one step, and nobody else can foresee it."""
        text = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
        mac = hmac.new(bytes(self._key), b"rochdale-sdk-id" + text, hashlib.sha256).digest()
        return str(uuid.UUID(bytes=mac[:16], version=4))

    def __repr__(self):
        return f"KeyPair(public={self.public_hex})"


def load_key(key) -> KeyPair:
    """A KeyPair as it is, or from a key file's path."""
    return key if isinstance(key, KeyPair) else KeyPair.load(key)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is that of the key. False, never an exception, for malformed input."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(bytes(public_key)).verify(bytes(message), bytes(signature))
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True
