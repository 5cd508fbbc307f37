"""The token by which principals and agents say who calls: a JWT that the caller signs itself.

    header  {"alg":"EdDSA","typ":"JWT","kid":<public key, hexadecimal>}
    claims  {"sub":"agent:<uuid>" or "principal:<uuid>","aud":"rochdale","iat","exp","jti"}

A token lasts 15 minutes at most; one is made afresh when half its life is over.
"""

import base64
import json
import re
import threading
import time
import uuid

from rochdale.keys import KeyPair

AUDIENCE = "rochdale"
LIFE_SECONDS = 600
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SUBJECT = re.compile(rf"(principal|agent):{_UUID}|service:[a-z0-9-]{{1,64}}")


def check_subject(subject: str) -> str:
    """The subject itself. ValueError unless it has the form above."""
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(
            f"an identity is principal:<uuid> or agent:<uuid> in lower case, not {subject!r}")
    return subject


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_token(key: KeyPair, subject: str, issued_at: int, life_seconds: int = LIFE_SECONDS,
               token_id: str | None = None) -> str:
    header = {"alg": "EdDSA", "typ": "JWT", "kid": key.public_hex}
    claims = {"sub": check_subject(subject), "aud": AUDIENCE, "iat": issued_at,
              "exp": issued_at + life_seconds, "jti": token_id or str(uuid.uuid4())}
    text = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode())
                    for part in (header, claims))
    return text + "." + _base64url(key.sign(text.encode()))


class TokenSource:
    """Gives a token that is valid now. Thread-safe."""

    def __init__(self, key: KeyPair, subject: str, clock=time.time):
        self.key, self.subject, self._clock = key, check_subject(subject), clock
        self._lock = threading.Lock()
        self._token, self._renew_at = "", 0.0

    def token(self) -> str:
        now = self._clock()
        with self._lock:
            # A clock that was set back makes the old token one of the future: sign again, too.
            if not self._token or not self._renew_at - LIFE_SECONDS <= now < self._renew_at:
                self._token = sign_token(self.key, self.subject, int(now))
                self._renew_at = now + LIFE_SECONDS / 2
            return self._token

    def forget(self) -> None:
        """After the server refused the token: the next one is new."""
        with self._lock:
            self._token = ""
