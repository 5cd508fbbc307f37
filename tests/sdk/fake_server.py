"""A small in-process server with one cooperative and one round: what the SDK's flows need, with
faults on demand. It checks what the real services check of a request's form; it decides nothing."""

import base64
import collections
import concurrent.futures
import hashlib
import json
import threading
import time
import uuid

import grpc
import numpy as np

from rochdale import documents, entry, keys, merkle, note, protos, safetensors

gov, flt, att, led = protos.governance, protos.filter, protos.attribution, protos.ledger
STATES = {name: value for name, value in att.RoundState.items()}


def rich_abort(context, code, reason, message="", retry_seconds=None, fields=()):
    """Aborts as libs/rpc does: google.rpc.Status in the trailers."""
    wire = protos.status.Status(code=code.value[0], message=message)

    def add(detail, name):
        packed = wire.details.add()
        packed.type_url, packed.value = "type.googleapis.com/google.rpc." + name, \
            detail.SerializeToString()

    add(protos.error_details.ErrorInfo(reason=reason, domain="rochdale"), "ErrorInfo")
    if fields:
        bad = protos.error_details.BadRequest()
        for field, description in fields:
            bad.field_violations.add(field=field, description=description)
        add(bad, "BadRequest")
    if retry_seconds is not None:
        retry = protos.error_details.RetryInfo()
        retry.retry_delay.FromTimedelta(__import__("datetime").timedelta(seconds=retry_seconds))
        add(retry, "RetryInfo")
    context.set_trailing_metadata((("grpc-status-details-bin", wire.SerializeToString()),))
    context.abort(code, message)


class FakeCooperative:
    """Counts calls in `calls`; `faults[method]` is a list of (code, reason, retry seconds) that the
    next calls of the method fail with; `break_upload_after` breaks streams after so many chunks."""

    def __init__(self):
        self.lock = threading.RLock()
        self.more = {}         # method -> handler, see serve_more
        self.calls = collections.Counter()
        self.requests = collections.defaultdict(list)
        self.tokens = []
        self.faults = collections.defaultdict(list)
        self.break_upload_after = []
        self.break_download_after = []
        self.cooperative_id, self.round_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.principal_id, self.agent_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.agent_key = keys.KeyPair.generate()
        rng = np.random.default_rng(7)
        self.base = safetensors.save({"0.weight": rng.normal(size=(3, 4)).astype("f4"),
                                      "0.bias": np.zeros(3, "f4")})
        self.base_sha = hashlib.sha256(self.base).hexdigest()
        self.round = att.Round(
            round_id=self.round_id, cooperative_id=self.cooperative_id, number=1,
            state="ROUND_STATE_OPEN",
            deadline_us=int((time.time() + 60) * 1e6), base_sha256=self.base_sha)
        self.reveal_after_commits = 1
        self.uploads = {}      # upload id -> [sha, size, bytearray]
        self.blobs = {self.base_sha: self.base}
        self.updates = {}      # update id -> flt.Update
        self.decisions = {}
        self.answered = {}     # (method, request id) -> (body, response)
        self.log_key, self.origin = keys.KeyPair.generate(), "log.example/demo"
        self.leaves, self.heads = [], []
        self.unsigned_until = 0.0
        self.witness, self.cosigned_after_calls = None, 0
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        self._add(protos.governance_grpc.add_GovernanceServiceServicer_to_server,
                  protos.governance_grpc.GovernanceServiceServicer)
        self._add(protos.filter_grpc.add_FilterServiceServicer_to_server,
                  protos.filter_grpc.FilterServiceServicer)
        self._add(protos.attribution_grpc.add_AttributionServiceServicer_to_server,
                  protos.attribution_grpc.AttributionServiceServicer)
        self._add(protos.ledger_grpc.add_LedgerServiceServicer_to_server,
                  protos.ledger_grpc.LedgerServiceServicer)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.target = f"127.0.0.1:{port}"

    def stop(self):
        self.server.stop(None)

    def _add(self, adder, base):
        outer, service = self, base.__name__.removesuffix("Servicer")

        class Servicer(base):
            pass

        for name in [n for n in dir(base) if n[0].isupper()]:
            handler = getattr(outer, f"{service}_{name}", None) or getattr(outer, name, None)
            if handler is None:
                handler = outer._later(name)
            wrapped = outer._stream(name, handler) if name == "DownloadBlob" else \
                outer._unary(name, handler)
            setattr(Servicer, name, wrapped)
        adder(Servicer(), self.server)

    def serve_more(self, handlers):
        """Answers further methods: name -> function of request and context."""
        self.more.update(handlers)

    def _later(self, name):
        def handle(request, context):
            if name not in self.more:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the fake has no {name}")
            return self.more[name](request, context)
        return handle

    def _enter(self, name, request, context):
        with self.lock:
            self.calls[name] += 1
            self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
            if hasattr(request, "SerializeToString"):
                self.requests[name].append(request)
            fault = self.faults[name].pop(0) if self.faults[name] else None
        if fault is not None:
            rich_abort(context, *fault[:2], message="injected", retry_seconds=fault[2])

    def _unary(self, name, handler):
        def call(_, request, context):
            self._enter(name, request, context)
            request_id = getattr(request, "request_id", "")
            if not request_id:
                return handler(request, context)
            with self.lock:
                body = request.SerializeToString()
                known = self.answered.get((name, request_id))
                if known is not None:
                    if known[0] != body:
                        rich_abort(context, grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
                    return known[1]
                response = handler(request, context)
                self.answered[(name, request_id)] = (body, response)
                return response
        return call

    def _stream(self, name, handler):
        def call(_, request, context):
            self._enter(name, request, context)
            yield from handler(request, context)
        return call

    # ---- Log ----

    def log(self, kind, subject, **fields):
        table = {row[0]: (row[1], row[2]) for row in protos.entry_table.KINDS.values()}
        service, link = table[kind]
        event = str(uuid.uuid4())
        item = entry.Entry(event, 1_700_000_000_000_000, protos.entry_table.SERVICES[service], kind,
                           protos.entry_table.LINKS[link], self.cooperative_id, subject, "", fields)
        with self.lock:
            self.leaves.append(entry.encode(item))
        return event

    def head(self, size=0):
        size = size or len(self.leaves)
        root = merkle.root_of(merkle.leaf_hash(leaf) for leaf in self.leaves[:size])
        text = note.Checkpoint(self.origin, size, root).to_text()
        return led.TreeHead(size=size, root=root, note=note.sign(self.origin, self.log_key, text))

    def node(self, level, index):
        leaves = self.leaves[index << level:(index + 1) << level]
        return merkle.root_of(merkle.leaf_hash(leaf) for leaf in leaves)

    def GetTreeHead(self, request, context):
        head, witnesses = self.head(), []
        if self.witness is not None:
            witnesses = [str(note.Key("witness.example/w", self.witness.public_key,
                                      note.COSIGNATURE))]
            if self.calls["GetTreeHead"] >= self.cosigned_after_calls:
                text = note.Note.parse(head.note).text
                head.note += note.cosignature_line("witness.example/w", self.witness, text,
                                                   1_700_000_000)
        return led.GetTreeHeadResponse(tree_head=head, witness_keys=witnesses, verifier_key=str(
            note.Key(self.origin, self.log_key.public_key)))

    def GetInclusionProof(self, request, context):
        for index, leaf in enumerate(self.leaves):
            if entry.decode(leaf).event_id == request.event_id:
                break
        else:
            rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such entry")
        if time.monotonic() < self.unsigned_until:
            rich_abort(context, grpc.StatusCode.OUT_OF_RANGE, "LOG_SIZE_UNKNOWN", "not signed yet")
        head = self.head()
        return led.GetInclusionProofResponse(
            log_index=index, tree_head=head, entry=leaf,
            hashes=merkle.inclusion_proof(index, head.size, self.node))

    def GetConsistencyProof(self, request, context):
        def prove(first, low, high, complete):
            if first == high - low:
                return [] if complete else [merkle.range_root(low, high, self.node)]
            split = 1 << ((high - low - 1).bit_length() - 1)
            if first <= split:
                return prove(first, low, low + split, complete) + [
                    merkle.range_root(low + split, high, self.node)]
            return prove(first - split, low + split, high, False) + [
                merkle.range_root(low, low + split, self.node)]
        return led.GetConsistencyProofResponse(
            second_size=request.second_size,
            hashes=prove(request.first_size, 0, request.second_size, True))

    # ---- Governance ----

    def GetCooperative(self, request, context):
        if request.slug not in ("", "demo"):
            rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such cooperative")
        return gov.GetCooperativeResponse(cooperative=gov.Cooperative(
            cooperative_id=self.cooperative_id, slug="demo", name="Demo", rules_version=1))

    def ListCooperatives(self, request, context):
        return gov.ListCooperativesResponse(
            cooperatives=[self.GetCooperative(gov.GetCooperativeRequest(), context).cooperative])

    def GetAgent(self, request, context):
        return gov.GetAgentResponse(agent=gov.Agent(
            agent_id=self.agent_id, principal_id=self.principal_id,
            public_key=self.agent_key.public_hex))

    # ---- Attribution ----

    def GetRound(self, request, context):
        with self.lock:
            if not self.round.round_id:
                rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no round")
            return att.GetRoundResponse(round=self.round)

    def GetCheckpoint(self, request, context):
        return att.GetCheckpointResponse(checkpoint=att.Checkpoint(sha256=self.base_sha))

    def ListCredits(self, request, context):
        return att.ListCreditsResponse(credits=[
            att.Credit(update_id=u.update_id, round_id=self.round_id, credit_nanonats=42,
                       principal_id=self.principal_id)
            for u in self.updates.values() if u.state == flt.UPDATE_STATE_APPLIED])

    def DownloadBlob(self, request, context):
        data = self.blobs.get(request.sha256)
        if data is None:
            rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such blob")
        with self.lock:
            stop = self.break_download_after.pop(0) if self.break_download_after else None
        for sent, offset in enumerate(range(request.offset_bytes, len(data), 64)):
            if sent == stop:
                rich_abort(context, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "broken off")
            yield protos.common.BlobChunk(offset_bytes=offset, size_bytes=len(data),
                                          data=data[offset:offset + 64])

    # ---- Filter ----

    def BeginUpload(self, request, context):
        with self.lock:
            for upload_id, (sha, size, data) in self.uploads.items():
                if sha == request.sha256:
                    break
            else:
                upload_id, data = str(uuid.uuid4()), bytearray()
                self.uploads[upload_id] = [request.sha256, request.size_bytes, data]
            return self._upload_state(upload_id)

    def _upload_state(self, upload_id):
        sha, size, data = self.uploads[upload_id]
        return protos.common.Upload(upload_id=upload_id, offset_bytes=len(data), size_bytes=size,
                                    sha256=sha, complete=len(data) == size)

    def UploadBlob(self, chunks, context):
        with self.lock:
            stop = self.break_upload_after.pop(0) if self.break_upload_after else None
        upload_id = ""
        for number, chunk in enumerate(chunks):
            upload_id = chunk.upload_id
            sha, size, data = self.uploads[upload_id]
            if number == stop:
                rich_abort(context, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "broken off")
            if chunk.offset_bytes != len(data):
                rich_abort(context, grpc.StatusCode.OUT_OF_RANGE, "UPLOAD_OFFSET", "wrong offset")
            data += chunk.data
        if len(data) == size:
            if hashlib.sha256(data).hexdigest() != sha:
                rich_abort(context, grpc.StatusCode.DATA_LOSS, "DIGEST_MISMATCH", "other bytes")
            self.blobs[sha] = bytes(data)
        return self._upload_state(upload_id)

    def CommitUpdate(self, request, context):
        document = request.commitment
        if not documents.is_valid(document) or document.public_key != self.agent_key.public_key:
            rich_abort(context, grpc.StatusCode.PERMISSION_DENIED, "SIGNATURE_INVALID", "bad")
        body = documents.decode(document)
        with self.lock:
            if self.updates:
                rich_abort(context, grpc.StatusCode.ALREADY_EXISTS, "UPDATE_EXISTS", "one a round")
            event = self.log("UPDATE_COMMITTED", body.update_id, document_type=document.type,
                             document_digest=bytes.fromhex(documents.digest(document)))
            self.updates[body.update_id] = flt.Update(
                update_id=body.update_id, round_id=body.round_id, agent_id=body.agent_id,
                cooperative_id=self.cooperative_id, principal_id=self.principal_id,
                state="UPDATE_STATE_COMMITTED", update_sha256=body.update_sha256,
                size_bytes=body.size_bytes,
                commitment_entry=protos.common.EntryRef(event_id=event))
            if len(self.updates) >= self.reveal_after_commits:
                self.round.state = STATES["ROUND_STATE_REVEAL"]
            return flt.CommitUpdateResponse(update=self.updates[body.update_id])

    def RevealUpdate(self, request, context):
        with self.lock:
            update = self.updates[request.update_id]
            if update.update_sha256 not in self.blobs:
                rich_abort(context, grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE", "no")
            update.state = flt.UPDATE_STATE_RECEIVED
            return flt.RevealUpdateResponse(update=update)

    def GetUpdate(self, request, context):
        with self.lock:
            if request.update_id not in self.updates:
                rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such update")
            return flt.GetUpdateResponse(update=self.updates[request.update_id])

    def GetDecision(self, request, context):
        if request.update_id not in self.decisions:
            rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "not decided")
        return flt.GetDecisionResponse(decision=self.decisions[request.update_id])

    def decide(self, update_id, state, verdict, reason="", findings=()):
        """What the services do between RECEIVED and the end of the round."""
        body = json.dumps({"update_id": update_id, "verdict": verdict}).encode()
        event = self.log("DECISION_MADE", update_id,
                         decision_digest=hashlib.sha256(body).digest())
        with self.lock:
            update = self.updates[update_id]
            update.state, update.reason = flt.UpdateState.Value("UPDATE_STATE_" + state), reason
            update.decision_entry.event_id = event
            self.decisions[update_id] = flt.Decision(
                update_id=update_id, verdict="VERDICT_" + verdict, findings=findings, body=body,
                engine_version="1", entry=protos.common.EntryRef(event_id=event))
            self.round.state = STATES["ROUND_STATE_CLOSED"]
        return event


def b64(data):
    return base64.b64encode(data).decode()
