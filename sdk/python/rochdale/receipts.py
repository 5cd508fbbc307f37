"""Receipts: proofs, in one text, that an entry is in the log (c2sp.org/tlog-proof), checked here.

    c2sp.org/tlog-proof@v1
    extra <base64 of the entry's canonical bytes>
    index <decimal>
    <base64 hash>            inclusion proof, leaf's sibling first, a line each
    <empty line>
    <checkpoint note>
"""

import base64
import binascii
import dataclasses
import re
import threading
import time

from rochdale import entry as entries
from rochdale import errors, merkle, note, protos

HEADER = "c2sp.org/tlog-proof@v1"
HASHES_MAX = 64
TEXT_MAX = 2 * note.NOTE_BYTES_MAX
WAIT_SECONDS = 60.0
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class ReceiptError(ValueError):
    """Not a receipt."""


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ReceiptError("a line is not base64") from error


@dataclasses.dataclass(frozen=True)
class Receipt:
    """An entry with its inclusion proof under a signed checkpoint. Proves nothing until verified
    under a log key that comes from elsewhere."""
    entry_bytes: bytes
    index: int
    hashes: tuple
    checkpoint: str

    @property
    def entry(self) -> entries.Entry:
        return entries.decode(self.entry_bytes)

    def to_text(self) -> str:
        lines = [HEADER, "extra " + base64.b64encode(self.entry_bytes).decode(),
                 f"index {self.index}", *(base64.b64encode(h).decode() for h in self.hashes), ""]
        return "\n".join(lines) + "\n" + self.checkpoint

    @classmethod
    def from_text(cls, text: str) -> "Receipt":
        """ReceiptError for anything but the form above."""
        if len(text) > TEXT_MAX:
            raise ReceiptError("a receipt is smaller than 512 KiB")
        head, gap, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not gap or len(lines) < 3 or lines[0] != HEADER:
            raise ReceiptError(f"a receipt begins with {HEADER}")
        if not lines[1].startswith("extra ") or not lines[2].startswith("index "):
            raise ReceiptError("a receipt has the lines extra and index")
        index, hashes = lines[2].removeprefix("index "), lines[3:]
        if not _DECIMAL.fullmatch(index) or len(hashes) > HASHES_MAX:
            raise ReceiptError("a receipt has an index and at most 64 hashes")
        return cls(_decode(lines[1].removeprefix("extra ")), int(index),
                   tuple(_decode(h) for h in hashes), checkpoint)

    def verify(self, log_key: note.Key) -> note.Checkpoint:
        """The checkpoint. VerificationFailed unless the entry is in the tree that the log's key
        signed."""
        try:
            entries.decode(self.entry_bytes)
            checkpoint = note.Checkpoint.open(self.checkpoint, log_key)
            merkle.verify_inclusion(self.index, checkpoint.size,
                                    merkle.leaf_hash(self.entry_bytes), self.hashes,
                                    checkpoint.root)
        except (entries.EntryError, note.NoteError, merkle.ProofError) as error:
            raise errors.VerificationFailed(str(error), code="DATA_LOSS") from error
        return checkpoint


@dataclasses.dataclass(frozen=True)
class Verification:
    """What verifying found. True in a condition exactly if everything holds."""
    ok: bool
    detail: str
    pinned: bool        # whether the log's key came from outside the server that was asked
    checkpoint: note.Checkpoint | None = None
    entry: entries.Entry | None = None

    def __bool__(self):
        return self.ok

    def __str__(self):
        return self.detail


def receipt_of(response) -> Receipt:
    """From a GetInclusionProofResponse."""
    return Receipt(response.entry, response.log_index, tuple(bytes(h) for h in response.hashes),
                   response.tree_head.note)


def is_not_logged_yet(error: errors.RochdaleError) -> bool:
    """Entries reach the log through an outbox, and are signed about once a second."""
    return error.reason == "LOG_SIZE_UNKNOWN" or isinstance(error, errors.NotFound)


def describe(receipt: Receipt, checkpoint: note.Checkpoint) -> str:
    found = receipt.entry
    return (f"{found.kind} of {found.subject or 'the log'} is entry {receipt.index} of the log "
            f"{checkpoint.origin}, size {checkpoint.size}")


def verify_offline(text: str, log_key: note.Key) -> Verification:
    """Checks a receipt's text under a log key, with nothing else. Never raises."""
    try:
        receipt = Receipt.from_text(text)
        checkpoint = receipt.verify(log_key)
    except (ReceiptError, errors.VerificationFailed) as error:
        return Verification(False, getattr(error, "message", str(error)), True)
    return Verification(True, describe(receipt, checkpoint), True, checkpoint, receipt.entry)


class LogVerifier:
    """Checks receipts, and that the log only ever grew, under one key. Thread-safe.

    The key is pinned by the caller; without one, that of the first answer is trusted from then on
    (and every Verification says so)."""

    def __init__(self, transport, log_key: str | note.Key | None = None):
        self._transport = transport
        self.pinned = log_key is not None
        self._key = note.Key.parse(log_key) if isinstance(log_key, str) else log_key
        self._newest: note.Checkpoint | None = None
        self._lock = threading.Lock()

    def key(self) -> note.Key:
        if self._key is None:
            head = self._transport.call("ledger", "GetTreeHead",
                                        protos.ledger.GetTreeHeadRequest())
            with self._lock:
                self._key = self._key or note.Key.parse(head.verifier_key)
        return self._key

    def fetch(self, event_id: str, timeout: float = WAIT_SECONDS) -> Receipt:
        """The receipt of an entry; waits while it is on its way into the signed log."""
        request = protos.ledger.GetInclusionProofRequest(event_id=event_id)
        deadline = time.monotonic() + timeout
        while True:
            try:
                response = self._transport.call("ledger", "GetInclusionProof", request)
                if response.tree_head.note:
                    return receipt_of(response)
                error = errors.OutOfRange("the entry is not in a signed tree yet",
                                          reason="LOG_SIZE_UNKNOWN", code="OUT_OF_RANGE")
            except errors.RochdaleError as raised:
                error = raised
            if not is_not_logged_yet(error) or time.monotonic() >= deadline:
                raise error
            time.sleep(0.25)

    def check_growth(self, checkpoint: note.Checkpoint) -> None:
        """VerificationFailed unless every checkpoint seen so far and this one are of one log."""
        with self._lock:
            newest = self._newest
        if newest is not None and newest != checkpoint:
            small, large = sorted((newest, checkpoint), key=lambda c: c.size)
            hashes = []
            if 0 < small.size < large.size:
                hashes = self._transport.call(
                    "ledger", "GetConsistencyProof", protos.ledger.GetConsistencyProofRequest(
                        first_size=small.size, second_size=large.size)).hashes
            try:
                if small.size > 0:
                    merkle.verify_consistency(small.size, large.size, small.root, large.root,
                                              hashes)
            except merkle.ProofError as error:
                raise errors.VerificationFailed(
                    f"the log was rewritten between size {small.size} and {large.size}: {error}",
                    code="DATA_LOSS") from error
        with self._lock:
            if self._newest is None or checkpoint.size > self._newest.size:
                self._newest = checkpoint

    def verify(self, receipt: Receipt) -> Verification:
        """Never raises for a receipt that does not hold: the answer is false and says why."""
        try:
            key = self.key()
            checkpoint = receipt.verify(key)
            self.check_growth(checkpoint)
        except (errors.VerificationFailed, note.NoteError) as error:
            return Verification(False, getattr(error, "message", str(error)), self.pinned)
        trust = "" if self.pinned else (
            "; the log's key was taken from this server on first use: to rule out that it answers "
            f"with a log of its own, pin it: log_key=\"{key}\"")
        return Verification(True, describe(receipt, checkpoint) + trust, self.pinned, checkpoint,
                            receipt.entry)
