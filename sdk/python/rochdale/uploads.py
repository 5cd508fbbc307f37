"""Blobs to and from the services: resumable, in chunks, verified by digest.

An upload that breaks off goes on where it stopped; a download is resumed at its offset and is
refused if the bytes are not those of the digest that was asked for.
"""

import hashlib
import io
import time

import grpc

from rochdale import errors, protos
from rochdale.transport import STREAM_SECONDS, delay_before

CHUNK_BYTES = 1024 * 1024
# Attempts in a row that did not move the offset.
STALLS_MAX = 6
DOWNLOAD_BYTES_MAX = 4 * 1024 * 1024 * 1024

PURPOSES = {
    "update": protos.common.BLOB_PURPOSE_UPDATE,
    "probe": protos.common.BLOB_PURPOSE_PROBE,
    "validation": protos.common.BLOB_PURPOSE_VALIDATION,
    "module": protos.common.BLOB_PURPOSE_MODULE,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin_request(key, purpose: str, data: bytes, digest: str, attempt: int):
    """BeginUpload; each attempt has a request id of its own, since the answer to a repeated id is
    the stored one, with the offset of then."""
    request_id = key.derived_id("upload", purpose, digest, str(attempt), str(time.time_ns()))
    return protos.common.BeginUploadRequest(request_id=request_id, purpose=PURPOSES[purpose],
                                            size_bytes=len(data), sha256=digest)


def chunks(upload_id: str, data: bytes, offset: int, progress=None):
    """UploadChunk messages from `offset` on."""
    view = memoryview(data)
    while offset < len(view):
        piece = bytes(view[offset:offset + CHUNK_BYTES])
        yield protos.common.UploadChunk(upload_id=upload_id, offset_bytes=offset, data=piece)
        offset += len(piece)
        if progress is not None:
            progress(offset, len(view))


def resumable_delay(stalls: int, error: errors.RochdaleError) -> float | None:
    """Seconds before a broken upload or download is resumed, or None where it cannot be."""
    if stalls >= STALLS_MAX:
        return None
    if error.reason == "UPLOAD_OFFSET" or error.code in ("CANCELLED", "DEADLINE_EXCEEDED"):
        return 0.05 * stalls
    # A stream that breaks off is resumed whatever the server says about waiting.
    if error.code == "RESOURCE_EXHAUSTED" and error.reason != "STORE_FULL":
        return max(error.retry_after or 0.0, 0.2 * stalls)
    return delay_before(stalls + 1, error)


def upload(transport, service: str, key, purpose: str, data: bytes, progress=None,
           sleep=time.sleep) -> str:
    """Uploads `data` and returns its SHA-256. `progress(bytes_done, bytes_total)` is called as
    chunks leave. Raises RochdaleError once no attempt gets any further."""
    if not data:
        raise ValueError("an empty blob cannot be uploaded")
    digest, stalls, attempt, furthest = sha256(data), 0, 0, -1
    while True:
        attempt += 1
        state = transport.call(service, "BeginUpload",
                               begin_request(key, purpose, data, digest, attempt))
        if state.complete:
            if progress is not None:
                progress(len(data), len(data))
            return digest
        stalls = 0 if state.offset_bytes > furthest else stalls
        furthest = max(furthest, state.offset_bytes)
        try:
            state = transport.method(service, "UploadBlob")(
                chunks(state.upload_id, data, state.offset_bytes, progress),
                timeout=STREAM_SECONDS)
            if state.complete:
                return digest
            error = errors.Unavailable("the upload ended early", code="UNAVAILABLE")
        except grpc.RpcError as raw:
            error = errors.from_rpc(raw)
        stalls += 1
        delay = resumable_delay(stalls, error)
        if delay is None:
            raise error
        sleep(delay)


class Receiver:
    """Takes the chunks of one download in order, bounded, into `sink` (a writable binary file), and
    checks the digest. Memory: one chunk."""

    def __init__(self, digest: str, sink, bytes_max: int = DOWNLOAD_BYTES_MAX):
        self.digest, self.bytes_max, self.offset = digest, bytes_max, 0
        self._sink, self._hash = sink, hashlib.sha256()

    def take(self, chunk) -> None:
        if chunk.offset_bytes != self.offset:
            raise errors.DataLoss(f"blob {self.digest}: a chunk starts at {chunk.offset_bytes}, "
                                  f"{self.offset} bytes are here", code="DATA_LOSS")
        if max(chunk.size_bytes, self.offset + len(chunk.data)) > self.bytes_max:
            raise errors.DataLoss(f"blob {self.digest}: larger than {self.bytes_max} bytes",
                                  code="DATA_LOSS")
        self._sink.write(chunk.data)
        self._hash.update(chunk.data)
        self.offset += len(chunk.data)

    def finish(self) -> None:
        if self._hash.hexdigest() != self.digest:
            raise errors.DataLoss(f"the bytes received are not those of {self.digest}",
                                  reason="DIGEST_MISMATCH", code="DATA_LOSS")


def download_to(transport, service: str, digest: str, sink, bytes_max: int = DOWNLOAD_BYTES_MAX,
                sleep=time.sleep) -> int:
    """Writes the blob with this SHA-256 to `sink` and returns its size; what was written counts
    only if no RochdaleError is raised."""
    receiver, stalls = Receiver(digest, sink, bytes_max), 0
    while True:
        before = receiver.offset
        request = protos.common.DownloadBlobRequest(sha256=digest, offset_bytes=before)
        try:
            for chunk in transport.stream(service, "DownloadBlob", request):
                receiver.take(chunk)
            receiver.finish()
            return receiver.offset
        except (errors.Unavailable, errors.DeadlineExceeded) as error:
            stalls = 1 if receiver.offset > before else stalls + 1
            delay = resumable_delay(stalls, error)
            if delay is None:
                raise
            sleep(delay)


def download(transport, service: str, digest: str, bytes_max: int = DOWNLOAD_BYTES_MAX,
             sleep=time.sleep) -> bytes:
    """The blob with this SHA-256, verified. Raises RochdaleError."""
    sink = io.BytesIO()
    download_to(transport, service, digest, sink, bytes_max, sleep)
    return sink.getvalue()
