"""Where an auditor's entries, documents and decisions come from: an evidence bundle in a folder, or
a running cooperative. Both check that an entry is in the signed log before they give it."""

import dataclasses
import hashlib
import json
from pathlib import Path

from rochdale import documents, entry as entries, errors, merkle, note, protos, tiles
from rochdale.bundle import check_manifest_note, fetch_document


@dataclasses.dataclass
class Check:
    """One thing that was checked. ok is None where it could not be."""
    what: str
    ok: bool | None
    detail: str = ""

    def __str__(self):
        mark = {True: "ok", False: "FAILED", None: "not checked"}[self.ok]
        return f"{self.what}: {mark}" + (f" ({self.detail})" if self.detail else "")


class BundleSource:
    """An evidence bundle in a folder. Checks manifest, signatures and the log's root at once.
    VerificationFailed with the file's name where something does not hold."""

    def __init__(self, folder, log_key: str | None = None):
        self._root = Path(folder)
        own = self._read("log/origin.vkey").decode().strip()
        if log_key is not None and note.Key.parse(log_key) != note.Key.parse(own):
            raise errors.VerificationFailed(
                f"log/origin.vkey is {own}, not the key given: the bundle is of another log",
                code="DATA_LOSS")
        self.key = note.Key.parse(log_key or own)
        self.trust = ("the log's key was given from outside" if log_key else
                      "self-consistent only: the log's key comes from the bundle itself; give "
                      "--log-key to rule out a bundle that was made up as a whole")
        self._check_manifest()
        try:
            self.checkpoint = note.Checkpoint.open(self._read("log/checkpoint"), self.key)
            self._tiles = tiles.TileReader(self.checkpoint.size,
                                           lambda path: self._read("log/" + path))
            if self._tiles.root() != self.checkpoint.root:
                raise errors.VerificationFailed("log/tile: another root than the signed one",
                                                code="DATA_LOSS")
            self._by_event, self._by_subject = {}, {}
            for index, data in self._tiles.entries():
                decoded = entries.decode(data)
                self._by_event[decoded.event_id] = index
                self._by_subject.setdefault((decoded.kind, decoded.subject), index)
        except (note.NoteError, tiles.TileError, merkle.ProofError,
                entries.EntryError) as error:
            raise errors.VerificationFailed(f"log: {error}", code="DATA_LOSS") from error

    def _read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise errors.VerificationFailed(f"{path}: {error.strerror}",
                                            code="DATA_LOSS") from error

    def _check_manifest(self) -> None:
        data = self._read("manifest.json")
        try:
            check_manifest_note(self._read("manifest.sig").decode(), self.key,
                                hashlib.sha256(data).hexdigest())
            listed = json.loads(data)["files"]
        except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise errors.VerificationFailed(f"manifest: {error}", code="DATA_LOSS") from error
        for path, about in listed.items():
            if not path or path.startswith("/") or ".." in path.split("/"):
                raise errors.VerificationFailed(f"manifest: {path!r} leaves the bundle",
                                                code="DATA_LOSS")
            if _file_digest(self._root / path) != (about["sha256"], about["size"]):
                raise errors.VerificationFailed(f"{path}: not the file of the manifest",
                                                code="DATA_LOSS")

    def entry(self, event_id: str):
        """(index, Entry, how its inclusion was checked) or None."""
        index = self._by_event.get(event_id)
        return None if index is None else self._at(index)

    def entry_about(self, kind: str, subject: str):
        """The first entry of a kind about a subject."""
        index = self._by_subject.get((kind, subject))
        return None if index is None else self._at(index)

    def _at(self, index: int):
        data = self._tiles.bundle(index // tiles.WIDTH)[index % tiles.WIDTH]
        merkle.verify_inclusion(index, self.checkpoint.size, merkle.leaf_hash(data),
                                self._tiles.inclusion_proof(index), self.checkpoint.root)
        return index, entries.decode(data), Check(
            "in the log", True, f"inclusion proof, signed tree of {self.checkpoint.size}")

    def document(self, service: str, digest: str):
        path = self._root / "documents" / f"{digest}.json"
        return documents.from_json(path.read_bytes()) if path.exists() else None

    def decision(self, update_id: str):
        path = self._root / "decisions" / f"{update_id}.json"
        return path.read_bytes() if path.exists() else None

    def evidence(self, round_id: str):
        path = self._root / "rounds" / f"{round_id}.json"
        return path.read_bytes() if path.exists() else None


def _file_digest(path: Path):
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, path.stat().st_size
    except OSError:
        return None


class OnlineSource:
    """A running cooperative, asked with a client; every entry is checked by its receipt."""

    def __init__(self, client):
        self._client = client
        self.trust = ("the log's key was given from outside" if client.log.pinned else
                      "the log's key was taken from the server on first use: pin it (--log-key) to "
                      "rule out that it answers with a log of its own")

    def _received(self, receipt):
        found = self._client.verify(receipt)
        detail = (f"inclusion proof, signed tree of {found.checkpoint.size}" if found
                  else found.detail)
        return receipt.index, receipt.entry, Check("in the log", bool(found), detail)

    def entry(self, event_id: str):
        try:
            return self._received(self._client.receipt(event_id, timeout=5.0))
        except (errors.NotFound, errors.OutOfRange):
            return None

    def entry_about(self, kind: str, subject: str):
        for item in self._client.transport.pages(
                "ledger", "ListEntries", protos.ledger.ListEntriesRequest(subject_id=subject),
                "entries"):
            decoded = entries.decode(item.entry)
            if (decoded.kind, decoded.subject) == (kind, subject):
                return self.entry(decoded.event_id)
        return None

    def document(self, service: str, digest: str):
        return fetch_document(self._client.transport, service, digest)

    def decision(self, update_id: str):
        try:
            return self._client.transport.call(
                "filter", "GetDecision",
                protos.filter.GetDecisionRequest(update_id=update_id)).decision.body or None
        except (errors.NotFound, errors.PermissionDenied):
            return None

    def evidence(self, round_id: str):
        try:
            return self._client.transport.call(
                "attribution", "GetEvidence",
                protos.attribution.GetEvidenceRequest(round_id=round_id)).body
        except errors.RochdaleError:
            return None
