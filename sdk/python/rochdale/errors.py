"""Errors of the services as exceptions that say what to do.

Every error carries `reason`, a stable word of docs/errors.md; programs branch on the class or on
the reason, people read the message:

    try:
        update = task.submit(model.state_dict())
    except rochdale.errors.FailedPrecondition as error:
        if error.reason == "STALE_CHECKPOINT": ...
"""

import grpc

from rochdale import protos

DOMAIN = "rochdale"
DETAILS_KEY = "grpc-status-details-bin"


class RochdaleError(Exception):
    """Base of all errors of the services and of this SDK.

    reason            word of docs/errors.md; "" where the server gave none
    code              name of the gRPC code, e.g. "FAILED_PRECONDITION"
    message           what the server said
    field_violations  [(path of the field, what is wrong with it)]
    retry_after       seconds to wait before trying again, or None
    advice            what to do about it
    """

    def __init__(self, message: str, reason: str = "", code: str = "UNKNOWN",
                 field_violations=(), retry_after: float | None = None):
        self.message, self.reason, self.code = message, reason, code
        self.field_violations, self.retry_after = list(field_violations), retry_after
        super().__init__(str(self))

    @property
    def advice(self) -> str:
        if self.reason in _ADVICE:
            return _ADVICE[self.reason]
        return protos.reasons.REASONS.get(self.reason, ("", ""))[1]

    def __str__(self):
        text = f"{self.reason or self.code}: {self.message}"
        shown = [f"{field}: {what}" for field, what in self.field_violations
                 if f"{field}: {what}" not in self.message]
        if shown:
            text += " (" + "; ".join(shown) + ")"
        if self.advice:
            text += f"\n  {self.advice}"
        return text


class InvalidRequest(RochdaleError):
    """The request is malformed or out of bounds: repeating it cannot help."""


class Unauthenticated(RochdaleError):
    """No token, or one that does not verify: look at key and identity."""


class PermissionDenied(RochdaleError):
    """The caller may not do this: role, membership, mandate or signature."""


class NotFound(RochdaleError):
    """No such thing, or not visible to the caller."""


class AlreadyExists(RochdaleError):
    """It exists with other content."""


class FailedPrecondition(RochdaleError):
    """Something has to happen first: the state of a round, a consent, a checkpoint."""


class Conflict(RochdaleError):
    """It changed meanwhile: read it again and repeat."""


class OutOfRange(RochdaleError):
    """Beyond what is there, e.g. of the log or of an upload."""


class DataLoss(RochdaleError):
    """Bytes are not what their digest or a proof says."""


class Unavailable(RochdaleError):
    """Cannot be answered now; `retry_after` says when to try again."""


class Overloaded(Unavailable):
    """Too much at once; `retry_after` says when to try again."""


class DeadlineExceeded(RochdaleError):
    """The deadline passed; a mutation may have happened, so repeat it with the same request id."""


class ServerFault(RochdaleError):
    """A fault of the service; the message has an error id for its operator."""


class RoundUnavailable(RochdaleError):
    """No round can be joined or submitted to: none is open, or it was abandoned."""


class VerificationFailed(RochdaleError):
    """A proof, signature or digest does not hold."""


class TransferRefused(RochdaleError):
    """The ledger refused a transfer; `reason` is the word of TransferResult."""


_CLASSES = {
    "INVALID_ARGUMENT": InvalidRequest,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": Conflict,
    "OUT_OF_RANGE": OutOfRange,
    "DATA_LOSS": DataLoss,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Overloaded,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INTERNAL": ServerFault,
}

# Where the SDK knows better than docs/errors.md what its user can do.
_ADVICE = {
    "UNAUTHENTICATED": "Check that the key is registered and that the identity (agent:<uuid> or "
                       "principal:<uuid>) is that of this key: `rochdale whoami`.",
    "TOKEN_EXPIRED": "Tokens are renewed by the SDK: check this machine's clock.",
    "CONSENT_OUTDATED": "The rules changed: read them (`rochdale coop show`) and let the principal "
                        "consent again (client.admin.consent).",
    "MANDATE_MISSING": "The principal has to grant a mandate: client.admin.grant_mandate.",
    "MANDATE_EXPIRED": "The principal has to grant a new mandate: client.admin.grant_mandate.",
    "STALE_CHECKPOINT": "Join the round again (coop.round().join()), train from its checkpoint.",
    "ROUND_NOT_ACCEPTING": "The round has moved on: join the next one with coop.round().join().",
    "PROFILE_MISSING": "The principal has to set a value profile: client.admin.set_profile.",
    "TENSOR_NOT_FINITE": "Training diverged: every value of the delta must be finite and below 8 "
                         "in magnitude. Lower the learning rate.",
    "TENSOR_MISMATCH": "Submit exactly the parameters of task.checkpoint(), by name and shape.",
}


def _unpack(detail, message) -> bool:
    # google.rpc was renamed for compilation (sdk/python/generate.py): compare what is on the wire.
    if detail.type_url.rpartition("/")[2] != "google.rpc." + message.DESCRIPTOR.name:
        return False
    message.ParseFromString(detail.value)
    return True


def from_details(code: str, message: str, details: bytes) -> RochdaleError:
    """The exception for a gRPC status with the bytes of its google.rpc.Status, if any."""
    info, bad = protos.error_details.ErrorInfo(), protos.error_details.BadRequest()
    retry, retry_after = protos.error_details.RetryInfo(), None
    wire = protos.status.Status()
    try:
        wire.ParseFromString(details)
        for detail in wire.details:
            if _unpack(detail, retry):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            _ = _unpack(detail, info) or _unpack(detail, bad)
    except Exception:  # noqa: BLE001  protobuf's DecodeError has no public home
        pass  # details that cannot be read take nothing from code and message
    reason = info.reason if info.domain == DOMAIN else ""
    violations = [(v.field, v.description) for v in bad.field_violations]
    return _CLASSES.get(code, RochdaleError)(message, reason, code, violations, retry_after)


def from_rpc(error: grpc.RpcError) -> RochdaleError:
    """The exception for an error that gRPC raised."""
    details = b""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            details = value
    return from_details(error.code().name, error.details() or "", details)
