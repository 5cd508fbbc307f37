"""Channels, tokens, deadlines and retries: how every call of the SDK goes out.

Retries happen only where they are safe: the call reads, or carries a request_id, which the services
answer once; and only for UNAVAILABLE, or RESOURCE_EXHAUSTED with the server's RetryInfo. They are
bounded in number and by the call's deadline, and repeat the very same request.
"""

import dataclasses
import ipaddress
import random
import threading
import time

import grpc

from rochdale import errors, protos
from rochdale.tokens import TokenSource

CALL_SECONDS = 30.0
STREAM_SECONDS = 600.0
ATTEMPTS_MAX = 10
BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 5.0
MESSAGE_BYTES_MAX = 32 * 1024 * 1024

STUBS = {
    "governance": protos.governance_grpc.GovernanceServiceStub,
    "filter": protos.filter_grpc.FilterServiceStub,
    "attribution": protos.attribution_grpc.AttributionServiceStub,
    "ledger": protos.ledger_grpc.LedgerServiceStub,
    "payout": protos.payout_grpc.PayoutServiceStub,
}
SERVICES = tuple(STUBS)

OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # Reasons travel in trailers; gRPC's own limit of 8 KiB is close to what the servers send.
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    # A server that was restarted is found again within seconds, not minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries are this module's: a channel that retries by itself would multiply them.
    ("grpc.enable_retries", 0),
]


@dataclasses.dataclass(frozen=True)
class Tls:
    """Certificates as PEM bytes: `ca` to check the server by (system roots where None), and the
    client's own chain and key where the server asks for them."""
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


def is_loopback(target: str) -> bool:
    """Whether calls to this address cannot leave the machine."""
    if target.startswith("unix:"):
        return True
    host = target.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:")
    host = host.rsplit(":", 1)[0].strip("[]") if host.count(":") != 0 else host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_plaintext(target: str) -> None:
    """ValueError unless plaintext may go to this address."""
    if not is_loopback(target):
        raise ValueError(
            f"{target} is not on this machine: plaintext goes to loopback addresses only; pass "
            "tls=rochdale.Tls(...)")


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)


def is_safe_to_repeat(method: str, request) -> bool:
    """Whether sending the request twice has the effect of sending it once."""
    fields = request.DESCRIPTOR.fields_by_name
    if "request_id" in fields:
        return bool(request.request_id)
    return method.startswith(("Get", "List", "Watch", "Download"))


def delay_before(attempt: int, error: errors.RochdaleError, rng=random.random) -> float | None:
    """Seconds to wait before attempt number `attempt` (2 is the first repetition), or None where
    the error does not allow another."""
    if attempt > ATTEMPTS_MAX or not isinstance(error, errors.Unavailable):
        return None
    if error.code == "RESOURCE_EXHAUSTED" and error.retry_after is None:
        return None
    backoff = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (attempt - 2))
    # Full jitter on top of what the server asks for, so that callers do not come back together.
    return min(60.0, error.retry_after or 0.0) + backoff * rng()


class _Authorise(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor,
                 grpc.StreamUnaryClientInterceptor):
    """Adds the caller's token to every call."""

    def __init__(self, transport):
        self._transport = transport

    def _intercept(self, continuation, details, request):
        metadata = [*(details.metadata or ()), *self._transport.metadata()]
        return continuation(_Details(details, metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _intercept


class _Details(grpc.ClientCallDetails):
    def __init__(self, details, metadata):
        self.method, self.timeout, self.metadata = details.method, details.timeout, metadata
        self.credentials = details.credentials
        self.wait_for_ready = getattr(details, "wait_for_ready", None)
        self.compression = getattr(details, "compression", None)


class Transport:
    """Connections to the five services, at one address or one each. Thread-safe."""

    def __init__(self, target, tokens: TokenSource | None = None, tls: Tls | None = None,
                 sleep=time.sleep):
        self._targets = (dict(target) if isinstance(target, dict)
                         else dict.fromkeys(SERVICES, target))
        unknown = set(self._targets) - set(SERVICES)
        if unknown:
            raise ValueError(f"no service is called {', '.join(sorted(unknown))}")
        self.tokens, self._sleep = tokens, sleep
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}
        for address in set(self._targets.values()):
            if tls is None:
                check_plaintext(address)
                channel = grpc.insecure_channel(address, OPTIONS)
            else:
                channel = grpc.secure_channel(address, credentials(tls), OPTIONS)
            self._channels[address] = channel
        self._stubs = {
            name: STUBS[name](grpc.intercept_channel(self._channels[address], _Authorise(self)))
            for name, address in self._targets.items()}

    def metadata(self):
        return (("authorization", f"Bearer {self.tokens.token()}"),) if self.tokens else ()

    def stub(self, service: str):
        return self._stubs[service]

    def method(self, service: str, name: str):
        """The raw method, e.g. of a stream."""
        return getattr(self._stubs[service], name)

    def call(self, service: str, name: str, request, timeout: float = CALL_SECONDS):
        """One unary call, with the retries that are safe. Raises RochdaleError."""
        method, attempt = self.method(service, name), 1
        deadline = time.monotonic() + timeout
        renewed = False
        while True:
            try:
                return method(request, timeout=max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as raw:
                error = errors.from_rpc(raw)
                if error.reason == "TOKEN_EXPIRED" and self.tokens and not renewed:
                    renewed = True
                    self.tokens.forget()
                    continue
                attempt += 1
                delay = delay_before(attempt, error)
                if (delay is None or not is_safe_to_repeat(name, request)
                        or time.monotonic() + delay >= deadline):
                    raise error from None
                self._sleep(delay)

    def stream(self, service: str, name: str, request, timeout: float = STREAM_SECONDS):
        """Messages of a server stream. Raises RochdaleError; never retries by itself."""
        call = self.method(service, name)(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as raw:
            raise errors.from_rpc(raw) from None
        finally:
            call.cancel()

    def pages(self, service: str, name: str, request, field: str, page_size: int = 500):
        """Every item of a paged list, a page at a time."""
        request = type(request).FromString(request.SerializeToString())
        request.page_size = page_size
        while True:
            response = self.call(service, name, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            if response.next_page_token == request.page_token:
                raise errors.ServerFault(f"{name} gave the same page token twice")
            request.page_token = response.next_page_token

    def close(self) -> None:
        with self._lock:
            for channel in self._channels.values():
                channel.close()
