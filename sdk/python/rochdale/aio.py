"""The asynchronous client: the same ten lines with `await`, on grpc.aio.

    async with rochdale.aio.connect("localhost:7443") as coop:
        task = await (await coop.round("demo")).join()
        update = await task.submit(state)
        print((await update.wait()).explain_text)

What is sent, signed, checked and retried is the code of the synchronous client; here is only the
waiting. Everything else that clients do is in rochdale.Client.
"""

import asyncio
import io
import time

import grpc

from rochdale import errors, explain as words, protos, rounds, safetensors, tensors, uploads
from rochdale.client import configured
from rochdale.tokens import TokenSource
from rochdale.transport import (CALL_SECONDS, OPTIONS, STREAM_SECONDS, STUBS, check_plaintext,
                                credentials, delay_before, is_safe_to_repeat)


class Client:
    """As rochdale.Client, for one event loop."""

    def __init__(self, target: str, key=None, identity=None, cooperative=None, tls=None):
        self.key, self.identity = configured(key, identity)
        if self.identity and self.key is None:
            raise ValueError(f"the identity {self.identity} needs its key")
        self._tokens = TokenSource(self.key, self.identity) if self.identity else None
        if tls is None:
            check_plaintext(target)
            self._channel = grpc.aio.insecure_channel(target, OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials(tls), OPTIONS)
        self._stubs = {name: stub(self._channel) for name, stub in STUBS.items()}
        self._default, self._cooperatives = cooperative, {}
        self._sleep = asyncio.sleep

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    @property
    def agent_id(self) -> str:
        kind, _, identifier = (self.identity or "").partition(":")
        return identifier if kind == "agent" else ""

    def metadata(self):
        return (("authorization", f"Bearer {self._tokens.token()}"),) if self._tokens else ()

    async def call(self, service: str, name: str, request, timeout: float = CALL_SECONDS):
        """One unary call, with the retries that are safe. Raises RochdaleError."""
        method, attempt, renewed = getattr(self._stubs[service], name), 1, False
        deadline = time.monotonic() + timeout
        while True:
            try:
                return await method(request, metadata=self.metadata(),
                                    timeout=max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as raw:
                error = errors.from_rpc(raw)
                if error.reason == "TOKEN_EXPIRED" and self._tokens and not renewed:
                    renewed = True
                    self._tokens.forget()
                    continue
                attempt += 1
                delay = delay_before(attempt, error)
                if (delay is None or not is_safe_to_repeat(name, request)
                        or time.monotonic() + delay >= deadline):
                    raise error from None
                await self._sleep(delay)

    async def upload(self, service: str, purpose: str, data: bytes, progress=None) -> str:
        """As uploads.upload."""
        digest, stalls, attempt, furthest = uploads.sha256(data), 0, 0, -1
        while True:
            attempt += 1
            state = await self.call(service, "BeginUpload", uploads.begin_request(
                self.key, purpose, data, digest, attempt))
            if state.complete:
                return digest
            stalls = 0 if state.offset_bytes > furthest else stalls
            furthest = max(furthest, state.offset_bytes)
            try:
                state = await self._stubs[service].UploadBlob(
                    uploads.chunks(state.upload_id, data, state.offset_bytes, progress),
                    metadata=self.metadata(), timeout=STREAM_SECONDS)
                if state.complete:
                    return digest
                error = errors.Unavailable("the upload ended early", code="UNAVAILABLE")
            except grpc.RpcError as raw:
                error = errors.from_rpc(raw)
            stalls += 1
            delay = uploads.resumable_delay(stalls, error)
            if delay is None:
                raise error
            await self._sleep(delay)

    async def download(self, service: str, digest: str) -> bytes:
        """As uploads.download."""
        sink = io.BytesIO()
        receiver, stalls = uploads.Receiver(digest, sink), 0
        while True:
            before = receiver.offset
            request = protos.common.DownloadBlobRequest(sha256=digest, offset_bytes=before)
            try:
                async for chunk in self._stubs[service].DownloadBlob(
                        request, metadata=self.metadata(), timeout=STREAM_SECONDS):
                    receiver.take(chunk)
                receiver.finish()
                return sink.getvalue()
            except grpc.RpcError as raw:
                error = errors.from_rpc(raw)
                stalls = 1 if receiver.offset > before else stalls + 1
                delay = uploads.resumable_delay(stalls, error)
                if delay is None:
                    raise error from None
                await self._sleep(delay)

    async def cooperative(self, slug: str | None = None) -> "Cooperative":
        slug = slug or self._default
        if not slug:
            raise ValueError("name a cooperative: connect(..., cooperative=\"demo\")")
        if slug not in self._cooperatives:
            info = (await self.call("governance", "GetCooperative",
                                    protos.governance.GetCooperativeRequest(slug=slug))).cooperative
            self._cooperatives[slug] = Cooperative(self, info)
        self._default = self._default or slug
        return self._cooperatives[slug]

    async def round(self, slug: str | None = None) -> "Cooperative":
        """The cooperative, as a place to join its rounds."""
        return await self.cooperative(slug)


class Cooperative:
    """One cooperative; see rochdale.Cooperative."""

    def __init__(self, client: Client, info):
        self.client, self.info, self.submitted_round = client, info, 0

    async def model_spec(self):
        """As rochdale.Cooperative.model_spec."""
        request = protos.attribution.GetModelRequest(cooperative_id=self.info.cooperative_id)
        return (await self.client.call("attribution", "GetModel", request)).model.spec

    async def current_round(self):
        request = protos.attribution.GetRoundRequest(cooperative_id=self.info.cooperative_id)
        return (await self.client.call("attribution", "GetRound", request)).round

    async def join(self, timeout: float = rounds.JOIN_SECONDS, after: int | None = None) -> "Task":
        """As RoundHandle.join."""
        poll = rounds.Poll(timeout)
        after = self.submitted_round if after is None else after
        while True:
            try:
                seen = await self.current_round()
                if rounds.accepts_joining(seen, after):
                    data = await self.client.download("attribution", seen.base_sha256)
                    return Task(self, seen, safetensors.load(data))
            except (errors.NotFound, errors.Unavailable):
                pass  # training has not started, or the server is being restarted
            pause = poll.next_pause()
            if pause is None:
                raise errors.RoundUnavailable(f"no round opened within {timeout:.0f} s",
                                              code="DEADLINE_EXCEEDED")
            await asyncio.sleep(pause)


class Task:
    """One round to work on; see rochdale.Task."""

    def __init__(self, cooperative: Cooperative, round_, base: dict):
        self.cooperative, self.round, self.base = cooperative, round_, base
        self.number = round_.number

    def checkpoint(self, framework: str | None = None) -> dict:
        return tensors.in_framework(self.base, framework)

    async def submit(self, state=None, *, delta=None, sample_count: int = 1, progress=None,
                     reveal: bool = True, upload_early: bool = False,
                     timeout: float = rounds.WAIT_SECONDS) -> "Update":
        client = self.cooperative.client
        submission = rounds.make_submission(client.key, client.agent_id, self.round, self.base,
                                            state, delta, sample_count)
        update = Update(client, await self._commit(client, submission))
        self.cooperative.submitted_round = max(self.cooperative.submitted_round, self.number)
        hold_back = reveal and not upload_early
        if hold_back and await update.wait_for_reveal(timeout) == "done":
            return update
        await client.upload("filter", "update", submission.blob, progress)
        return await update.reveal(timeout) if reveal else update

    async def _commit(self, client, submission):
        try:
            return (await client.call("filter", "CommitUpdate",
                                      rounds.commit_request(client.key, submission))).update
        except errors.RochdaleError as error:
            if not rounds.is_mine(error):
                raise
            try:
                known = (await client.call("filter", "GetUpdate", protos.filter.GetUpdateRequest(
                    update_id=submission.update_id))).update
            except errors.RochdaleError:
                known = None
            if known is None or known.update_sha256 != submission.sha256:
                raise
            return known


class Update:
    """An update; see rochdale.Update."""

    def __init__(self, client: Client, proto):
        self._client, self.proto, self.explain_text = client, proto, ""

    @property
    def id(self) -> str:
        return self.proto.update_id

    @property
    def state(self) -> str:
        return words.state_name(self.proto)

    async def refresh(self) -> "Update":
        self.proto = (await self._client.call("filter", "GetUpdate", protos.filter.GetUpdateRequest(
            update_id=self.id))).update
        return self

    async def _round_now(self):
        request = protos.attribution.GetRoundRequest(round_id=self.proto.round_id)
        return (await self._client.call("attribution", "GetRound", request)).round

    async def reveal(self, timeout: float = rounds.WAIT_SECONDS) -> "Update":
        if await self.wait_for_reveal(timeout) == "reveal":
            self.proto = (await self._client.call(
                "filter", "RevealUpdate",
                rounds.reveal_request(self._client.key, self.id))).update
        return self

    async def wait_for_reveal(self, timeout: float = rounds.WAIT_SECONDS) -> str:
        poll = rounds.Poll(timeout)
        while True:
            step = rounds.check_reveal(await self._round_now(), (await self.refresh()).proto)
            if step != "wait":
                return step
            await self._pause(poll, timeout)

    async def wait(self, until: str = "final", timeout: float = rounds.WAIT_SECONDS) -> "Update":
        """As rochdale.Update.wait; `explain_text` then says what became of it, and why."""
        wanted = words.FINAL if until == "final" else words.DECIDED
        poll = rounds.Poll(timeout)
        while (await self.refresh()).proto.state not in wanted:
            if (await self._round_now()).state == rounds.ABANDONED:
                await self.refresh()
                break
            await self._pause(poll, timeout)
        try:
            decision = (await self._client.call(
                "filter", "GetDecision",
                protos.filter.GetDecisionRequest(update_id=self.id))).decision
        except errors.NotFound:
            decision = None
        self.explain_text = words.explain(self.proto, decision)
        return self

    async def _pause(self, poll, timeout: float) -> None:
        pause = poll.next_pause()
        if pause is None:
            raise errors.DeadlineExceeded(f"update {self.id} is {self.state} after {timeout:.0f} s",
                                          code="DEADLINE_EXCEEDED")
        await asyncio.sleep(pause)


def connect(target: str = "localhost:7443", **options) -> Client:
    """A Client, to be used in an `async with`."""
    return Client(target, **options)
