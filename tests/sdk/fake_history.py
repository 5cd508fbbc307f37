"""A finished cooperative: every entry from registrations to a payment, and the services' answers
that an export needs. The entries are shaped as the services write them."""

import hashlib
import json
import uuid

import grpc

from fake_server import FakeCooperative, att, flt, gov, led, rich_abort
from rochdale import documents, entry, keys, note, protos

pay = protos.payout
PAID = 1_500_000


def new_id():
    return str(uuid.uuid4())


def raw(identifier):
    return uuid.UUID(identifier).bytes


class FinishedCooperative(FakeCooperative):
    """One round, two updates (one rejected), one epoch, one payment to the agent's principal."""

    def __init__(self):
        self.documents = {}
        super().__init__()
        self.principal_key = keys.KeyPair.generate()
        self.founder_key, self.founder_id = keys.KeyPair.generate(), new_id()
        self.epoch_id, self.pool_id, self.transfer_id = new_id(), new_id(), new_id()
        self.update_id, self.refused_id, self.mandate_id = new_id(), new_id(), new_id()
        self.account_id, self.pool_account_id = new_id(), new_id()
        self.hidden = set()      # digests of blobs and documents that are not shown
        self._write_history()
        self._add(protos.payout_grpc.add_PayoutServiceServicer_to_server,
                  protos.payout_grpc.PayoutServiceServicer)

    def _signed(self, key, message):
        document = documents.sign(key, message)
        self.documents[documents.digest(document)] = document
        return {"document_type": document.type,
                "document_digest": bytes.fromhex(documents.digest(document)),
                "public_key": key.public_key, "signature": document.signature}

    def append(self, kind, subject, authorised_by="", cooperative=None, **fields):
        table = {row[0]: (row[1], row[2]) for row in protos.entry_table.KINDS.values()}
        service, link = table[kind]
        event = new_id()
        self.leaves.append(entry.encode(entry.Entry(
            event, 1_700_000_000_000_000 + len(self.leaves), protos.entry_table.SERVICES[service],
            kind, protos.entry_table.LINKS[link],
            self.cooperative_id if cooperative is None else cooperative, subject, authorised_by,
            fields)))
        return event

    def _write_history(self):
        c, p, a = self.cooperative_id, self.principal_id, self.agent_id
        self.append("LOG_STARTED", "", cooperative="", registered_key=self.log_key.public_key,
                    origin=self.origin)
        genesis = gov.Genesis(cooperative_id=c, slug="demo")
        founded = self.append("COOPERATIVE_FOUNDED", c, rules_version=1,
                              **self._signed(self.founder_key, genesis))
        registered = self.append(
            "PRINCIPAL_REGISTERED", p, cooperative="", principal_type=1,
            registered_key=self.principal_key.public_key, **self._signed(
                self.principal_key, gov.PrincipalRegistration(principal_id=p, display_name="Ada")))
        agent = self.append(
            "AGENT_REGISTERED", a, registered, cooperative="", principal=raw(p),
            registered_key=self.agent_key.public_key, **self._signed(
                self.principal_key, gov.AgentRegistration(
                    agent_id=a, principal_id=p, public_key=self.agent_key.public_hex)))
        assert agent
        requested = self.append("MEMBERSHIP_REQUESTED", p, registered, **self._signed(
            self.principal_key, gov.MembershipApplication(cooperative_id=c, principal_id=p)))
        consented = self.append(
            "MEMBERSHIP_CONSENTED", p, requested, rules_version=1, **self._signed(
                self.principal_key,
                gov.RuleConsent(cooperative_id=c, principal_id=p, rules_version=1)))
        expires = 2_000_000_000_000_000
        mandate = self.append(
            "MANDATE_GRANTED", self.mandate_id, consented, principal=raw(p), agent=raw(a),
            expires_us=expires, **self._signed(self.principal_key, gov.Mandate(
                mandate_id=self.mandate_id, cooperative_id=c, principal_id=p, agent_id=a,
                expires_us=expires)))
        effective, next_ = b"effective update", b"next checkpoint"
        rows = b"retired rows"
        for data in (effective, next_, rows):
            self.blobs[hashlib.sha256(data).hexdigest()] = data
        self.effective_sha = hashlib.sha256(effective).hexdigest()
        events = {}
        for update, verdict in ((self.update_id, 1), (self.refused_id, 5)):
            commitment = flt.UpdateCommitment(update_id=update, round_id=self.round_id, agent_id=a)
            committed = self.append(
                "UPDATE_COMMITTED", update, mandate, principal=raw(p), agent=raw(a),
                round=raw(self.round_id), update_commitment=bytes(32),
                **self._signed(self.agent_key, commitment))
            body = json.dumps({"update_id": update, "verdict": verdict}).encode()
            decided = self.append("DECISION_MADE", update, committed, round=raw(self.round_id),
                                  decision_digest=hashlib.sha256(body).digest(), verdict=verdict)
            self.decisions[update] = flt.Decision(
                update_id=update, body=body, entry=protos.common.EntryRef(event_id=decided))
            self.updates[update] = flt.Update(
                update_id=update, round_id=self.round_id, cooperative_id=c, agent_id=a,
                principal_id=p, consents_to_publication=True,
                effective_sha256=self.effective_sha if verdict == 1 else "",
                state="UPDATE_STATE_SETTLED" if verdict == 1 else "UPDATE_STATE_REJECTED",
                commitment_entry=protos.common.EntryRef(event_id=committed),
                decision_entry=protos.common.EntryRef(event_id=decided))
            events[update] = decided
        self.evidence = json.dumps({
            "format": 1, "round_id": self.round_id, "number": 1, "base_sha256": self.base_sha,
            "next_sha256": hashlib.sha256(next_).hexdigest(), "best_sha256": self.base_sha,
            "rows_sha256": hashlib.sha256(rows).hexdigest(),
            "updates": [{"update_id": self.update_id, "effective_sha256": self.effective_sha}],
            "credits": [{"update_id": self.update_id, "credit_nanonats": 700}]}).encode()
        digest = hashlib.sha256(self.evidence).digest()
        self.append("EVIDENCE_MADE", self.round_id, evidence_digest=digest, matrix_root=bytes(32))
        credit = self.append("CREDIT_ASSIGNED", self.update_id, events[self.update_id],
                             principal=raw(p), round=raw(self.round_id), evidence_digest=digest,
                             credit_nano_nats=700)
        closed_round = self.append("ROUND_CLOSED", self.round_id, checkpoint_digest=bytes(32),
                                   update_count=1)
        self.round.state = att.ROUND_STATE_CLOSED
        self.round.closed_entry.event_id = closed_round
        pool = self.append("POOL_CREATED", self.pool_id, founded, account=raw(self.pool_account_id),
                           **self._signed(self.founder_key, pay.PoolCreation(pool_id=self.pool_id)))
        closed = self.append(
            "EPOCH_CLOSED", self.epoch_id, pool, pool=raw(self.pool_id), credit_nano_nats=700,
            amount=PAID, **self._signed(self.founder_key, pay.EpochClosing(
                epoch_id=self.epoch_id, pool_id=self.pool_id)))
        statement = self.append(
            "STATEMENT_ISSUED", new_id(), closed, principal=raw(p), epoch=raw(self.epoch_id),
            amount=PAID, credit_entries=raw(credit), account=raw(self.account_id),
            credit_nano_nats=700)
        self.append("TRANSFER_POSTED", self.transfer_id, statement,
                    debit_account=raw(self.pool_account_id), credit_account=raw(self.account_id),
                    amount=PAID, transfer_kind=3)
        self.statement = pay.Statement(
            epoch_id=self.epoch_id, principal_id=p, payment_microtokens=PAID, credit_nanonats=700,
            credit_sum_nanonats=700, transfer_id=self.transfer_id, paid=True,
            entry=protos.common.EntryRef(event_id=statement),
            lines=[pay.StatementLine(round_number=1, update_id=self.update_id, outcome="APPLIED")])
        for number in range(300):  # so that the tree has more than one tile
            self.append("ROUND_STATE_CHANGED", self.round_id, from_state=number, to_state=number)
        self.first_head = self.head(3)

    # ---- What an export asks ----

    def GetEntry(self, request, context):
        for index, leaf in enumerate(self.leaves):
            if entry.decode(leaf).event_id == request.event_id:
                return led.GetEntryResponse(entry=led.LogEntry(log_index=index, entry=leaf))
        rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such entry")

    def ListEntries(self, request, context):
        begin = int(request.page_token or request.from_index)
        items = [(i, leaf) for i, leaf in enumerate(self.leaves)
                 if request.subject_id in ("", entry.decode(leaf).subject)][begin:begin + 100]
        more = len(items) == 100
        return led.ListEntriesResponse(
            entries=[led.LogEntry(log_index=i, entry=leaf) for i, leaf in items],
            next_page_token=str(begin + 100) if more else "")

    def ListTreeHeads(self, request, context):
        return led.ListTreeHeadsResponse(tree_heads=[
            self.first_head, led.TreeHead(size=5), self.head(20), self.head()])

    def SignBundle(self, request, context):
        text = f"rochdale evidence bundle v1\n{request.manifest_sha256}\n"
        return led.SignBundleResponse(note=note.sign(self.origin, self.log_key, text))

    def GetDocument(self, request, context):
        document = self.documents.get(request.document_sha256)
        personal = document is not None and document.type.endswith("PrincipalRegistration")
        if document is None or personal or request.document_sha256 in self.hidden:
            rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such document")
        return gov.GetDocumentResponse(document=document)

    def ListRounds(self, request, context):
        return att.ListRoundsResponse(rounds=[self.round])

    def GetEvidence(self, request, context):
        return att.GetEvidenceResponse(body=self.evidence,
                                       sha256=hashlib.sha256(self.evidence).hexdigest())

    def DownloadBlob(self, request, context):
        if request.sha256 in self.hidden:
            rich_abort(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "sealed")
        yield from super().DownloadBlob(request, context)

    def ListUpdates(self, request, context):
        return flt.ListUpdatesResponse(updates=list(self.updates.values()))

    def GetPool(self, request, context):
        return pay.GetPoolResponse(pool=pay.Pool(pool_id=self.pool_id))

    def ListEpochs(self, request, context):
        return pay.ListEpochsResponse(epochs=[pay.Epoch(epoch_id=self.epoch_id)])

    def ListStatements(self, request, context):
        return pay.ListStatementsResponse(statements=[self.statement])

    def GetStatement(self, request, context):
        assert (request.epoch_id, request.principal_id) == (self.epoch_id, self.principal_id)
        proved = pay.Statement()
        proved.CopyFrom(self.statement)
        proved.distribution_proof.append(bytes(32))
        return pay.GetStatementResponse(statement=proved)

    def GetTransfer(self, request, context):
        return led.GetTransferResponse(transfer=led.Transfer(
            transfer_id=request.transfer_id, log_index=len(self.leaves) - 301))
