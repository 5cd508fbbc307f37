"""The pieces of an evidence bundle that its writer and its readers share (docs/evidence.md)."""

import dataclasses
import hashlib
import json
from pathlib import Path

from google.protobuf import json_format

from rochdale import errors, note, protos

FORMAT = 1
MANIFEST_TITLE = "rochdale evidence bundle v1"
FILES_MAX = 10_000_000
_SAFE_INTEGER = 2**53


def canonical_json(value) -> bytes:
    """Keys sorted, no spaces, integers beyond 2^53 as decimal texts."""
    def plain(item):
        if isinstance(item, dict):
            return {key: plain(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(inner) for inner in item]
        if isinstance(item, int) and not isinstance(item, bool) and abs(item) > _SAFE_INTEGER:
            return str(item)
        return item
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False).encode()


@dataclasses.dataclass
class Report:
    """What a bundle holds and what could not be had, for people."""
    path: str = ""
    files: int = 0
    size_bytes: int = 0
    log_size: int = 0
    rounds: int = 0
    credits: int = 0
    decisions: int = 0
    statements: int = 0
    documents: int = 0
    blobs: int = 0
    withheld: list = dataclasses.field(default_factory=list)  # what is not in it, and why

    def __str__(self):
        text = (f"{self.path}: {self.files} files, {self.size_bytes} bytes; log of {self.log_size} "
                f"entries, {self.rounds} rounds, {self.credits} credits, {self.decisions} "
                f"decisions, {self.statements} statements, {self.documents} documents, "
                f"{self.blobs} blobs")
        return text + "".join(f"\n  not in it: {line}" for line in self.withheld)


class Files:
    """The files of a bundle in the making, with their digests."""

    def __init__(self, root: Path):
        self.root, self.listed = root, {}

    def write(self, path: str, data: bytes) -> None:
        target = self._target(path)
        target.write_bytes(data)
        self._list(path, hashlib.sha256(data).hexdigest(), len(data))

    def write_blob(self, digest: str, fill) -> bool:
        """blobs/<digest> by fill(file) -> size; False where it is there already."""
        path = f"blobs/{digest}"
        if path in self.listed:
            return False
        target = self._target(path)
        try:
            with open(target, "wb") as file:
                size = fill(file)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        self._list(path, digest, size)
        return True

    def _target(self, path: str) -> Path:
        if path in self.listed:
            raise errors.VerificationFailed(f"{path} would be written twice", code="DATA_LOSS")
        if len(self.listed) >= FILES_MAX:
            raise errors.RochdaleError(f"a bundle has at most {FILES_MAX} files")
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _list(self, path: str, digest: str, size: int) -> None:
        self.listed[path] = {"sha256": digest, "size": size}


def check_digest(what: str, data: bytes, digest: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise errors.VerificationFailed(f"{what}: the bytes do not have the digest {digest}",
                                        code="DATA_LOSS")


def statement_json(statement) -> bytes:
    """The form of statements/<epoch id>.<principal id>.json."""
    return canonical_json(json_format.MessageToDict(statement, preserving_proto_field_name=True))


def check_manifest_note(signed: str, key: note.Key, digest: str) -> None:
    """VerificationFailed unless it is the log's note over this manifest, with one signature."""
    try:
        parsed = note.Note.parse(signed)
        parsed.verify(key)
    except note.NoteError as error:
        raise errors.VerificationFailed(f"manifest.sig: {error}", code="DATA_LOSS") from error
    if parsed.text != f"{MANIFEST_TITLE}\n{digest}\n" or len(parsed.signatures) != 1:
        raise errors.VerificationFailed("manifest.sig is not over this manifest",
                                        code="DATA_LOSS")


def fetch_document(transport, service: str, digest: str):
    """A signed document by its digest from the service that wrote its entry, or None."""
    for name in dict.fromkeys((service, "governance")):
        request = _document_request(name)(document_sha256=digest)
        try:
            return transport.call(name, "GetDocument", request).document
        except (errors.NotFound, errors.PermissionDenied):
            continue
    return None


def _document_request(service: str):
    return getattr(getattr(protos, service), "GetDocumentRequest")
