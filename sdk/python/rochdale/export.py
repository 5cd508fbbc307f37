"""Evidence bundles: `rochdale export --cooperative SLUG --out DIR`.

Collects what an outsider needs to check a cooperative, as docs/evidence.md describes it, and
verifies on the way whatever this client can: the log's root, every digest, the manifest's
signature. Blobs and the log are streamed; a bundle that could not be finished is left behind as
DIR.partial and never as DIR. Registrations of principals are not in it: they hold people's names.
"""

import collections
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from rochdale import documents, entry as entries, errors, note, protos, tiles, uploads
from rochdale.bundle import (FORMAT, Files, Report, canonical_json, check_digest,
                             check_manifest_note, fetch_document, statement_json)

LOG_WAIT_SECONDS = 60.0
WITNESS_WAIT_SECONDS = 10.0  # for the cosignature of a witness; without it after that
STATE_WAIT_SECONDS = 10.0
BLOB_BYTES_MAX = 4 * 1024 * 1024 * 1024

att, pay, led, flt = protos.attribution, protos.payout, protos.ledger, protos.filter


class Exporter:
    """One export. `say(text)` is told of progress."""

    def __init__(self, client, cooperative, out, all_statements: bool = False, say=None):
        self._client, self._transport = client, client.transport
        self._cooperative = client.cooperative(cooperative)
        self._out, self._all_statements = Path(out), all_statements
        self._say = say or (lambda text: None)
        self._report = Report(path=str(self._out))
        self._partial = self._out.with_name(self._out.name + ".partial")
        self._files = Files(self._partial)
        self._head, self._witness = "", None
        # What the log says about this cooperative, collected while it is written.
        self._decisions = {}     # update id -> digest of its decision
        self._evidence = {}      # round id -> digest of its evidence
        self._comparisons = {}   # A/B test id -> digest of its evidence
        self._credits = []       # (log index, Entry)
        self._documents = {}     # digest -> (service, kind)
        self._agents = {}        # agent id -> digest of its registration, of every cooperative
        self._mandated = set()   # agents with a mandate in this one

    def run(self) -> Report:
        if self._out.exists() and (not self._out.is_dir() or any(self._out.iterdir())):
            raise FileExistsError(f"{self._out} is there already")
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(parents=True)
        statements = [self._proved(s) for s in self._collect_statements()]
        updates, events = self._collect_updates()
        events |= {s.entry.event_id for s in statements}
        events |= {e.settled_entry.event_id for e in self._epochs()}
        head, key = self._wait_for_head(events - {""}, self._paid_until(statements))
        self._write_log(head, key)
        evidence = [self._write_evidence(*item) for item in sorted(self._evidence.items())]
        self._write_comparisons()
        self._write_decisions()
        self._write_credits()
        self._write_statements(statements)
        self._write_documents()
        self._write_blobs([e for e in evidence if e is not None], updates)
        self._sign(key)
        if self._out.exists():
            self._out.rmdir()
        os.replace(self._partial, self._out)
        return self._report

    # ---- What the services say ----

    def _collect_updates(self):
        """({effective digest: whether it may be published}, event ids that the log must hold)."""
        public, events = {}, set()
        for round_ in self._cooperative.rounds():
            if round_.state not in (att.ROUND_STATE_CLOSED, att.ROUND_STATE_ABANDONED):
                continue
            events.add(round_.closed_entry.event_id)
            for update in self._cooperative.updates(round_.round_id):
                public[update.effective_sha256] = update.consents_to_publication
                events |= {update.commitment_entry.event_id, update.decision_entry.event_id}
        return public, events

    def _collect_statements(self) -> list:
        if not self._all_statements:
            own = list(self._client.statement()) if self._client.identity else []
            return [s for s in own if s.principal_id == self._client.principal_id]
        found = []
        for epoch in self._epochs():
            found += self._transport.pages(
                "payout", "ListStatements",
                pay.ListStatementsRequest(epoch_id=epoch.epoch_id), "statements")
        return found

    def _epochs(self) -> list:
        try:
            pool = self._transport.call("payout", "GetPool", pay.GetPoolRequest(
                cooperative_id=self._cooperative.id)).pool
        except errors.NotFound:
            return []
        return list(self._transport.pages(
            "payout", "ListEpochs", pay.ListEpochsRequest(pool_id=pool.pool_id), "epochs"))

    def _proved(self, statement):
        """The same statement with its proof under the distribution root, which lists leave out."""
        return self._transport.call("payout", "GetStatement", pay.GetStatementRequest(
            epoch_id=statement.epoch_id, principal_id=statement.principal_id)).statement

    def _paid_until(self, statements) -> int:
        """The size that the log must have so that it shows every payment of these statements."""
        size = 0
        for statement in statements:
            if statement.paid and statement.transfer_id:
                transfer = self._transport.call("ledger", "GetTransfer", led.GetTransferRequest(
                    transfer_id=statement.transfer_id)).transfer
                size = max(size, transfer.log_index + 1)
        return size

    def _write_evidence(self, round_id: str, digest: str):
        response = self._patiently("attribution", "GetEvidence",
                                   att.GetEvidenceRequest(round_id=round_id))
        if response is None:
            self._withhold(f"evidence of round {round_id}: not shown to this caller")
            return None
        check_digest(f"evidence of round {round_id}", response.body, digest)
        self._files.write(f"rounds/{round_id}.json", response.body)
        self._report.rounds += 1
        self._say(f"round {round_id}: evidence")
        return json.loads(response.body)

    def _write_comparisons(self) -> None:
        for comparison_id, digest in sorted(self._comparisons.items()):
            response = self._patiently("attribution", "GetComparison",
                                       att.GetComparisonRequest(comparison_id=comparison_id))
            if response is None:
                self._withhold(f"evidence of A/B test {comparison_id}: not shown to this caller")
                continue
            check_digest(f"evidence of A/B test {comparison_id}", response.evidence, digest)
            self._files.write(f"comparisons/{comparison_id}.json", response.evidence)

    def _write_decisions(self) -> None:
        hidden = 0
        for update_id, digest in sorted(self._decisions.items()):
            response = self._patiently("filter", "GetDecision",
                                       flt.GetDecisionRequest(update_id=update_id))
            if response is None or not response.decision.body:
                hidden += 1
                continue
            check_digest(f"decision on {update_id}", response.decision.body, digest)
            self._files.write(f"decisions/{update_id}.json", response.decision.body)
            self._report.decisions += 1
        if hidden:
            self._withhold(f"{hidden} decisions: not shown to this caller")

    def _patiently(self, service: str, method: str, request):
        """A call about something that the log has: evidence is logged a moment before its round is
        closed. None where the caller may not see it."""
        deadline = time.monotonic() + STATE_WAIT_SECONDS
        while True:
            try:
                return self._transport.call(service, method, request)
            except (errors.NotFound, errors.PermissionDenied):
                return None
            except errors.FailedPrecondition:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.25)

    # ---- The log ----

    def _wait_for_head(self, events: set, needed: int):
        """A signed head of at least `needed` entries that covers every one of these events."""
        deadline = time.monotonic() + LOG_WAIT_SECONDS
        patience = time.monotonic() + WITNESS_WAIT_SECONDS
        for event in sorted(events):
            while True:
                try:
                    found = self._transport.call("ledger", "GetEntry",
                                                 led.GetEntryRequest(event_id=event))
                    break
                except errors.NotFound:
                    if time.monotonic() >= deadline:
                        raise errors.VerificationFailed(
                            f"entry {event} is not in the log", code="DATA_LOSS") from None
                    time.sleep(0.25)
            needed = max(needed, found.entry.log_index + 1)
        while True:
            response = self._transport.call("ledger", "GetTreeHead", led.GetTreeHeadRequest())
            key = self._client.log.key()
            if response.tree_head.size >= needed and response.tree_head.note:
                checkpoint = note.Checkpoint.open(response.tree_head.note, key)
                if checkpoint.size != response.tree_head.size:
                    raise errors.VerificationFailed("the signed head has another size",
                                                    code="DATA_LOSS")
                self._witness = note.cosigner(response.tree_head.note, response.witness_keys)
                if response.witness_keys and not self._witness and time.monotonic() < patience:
                    time.sleep(0.25)
                    continue
                self._client.log.check_growth(checkpoint)
                self._head = response.tree_head.note
                return checkpoint, key
            if time.monotonic() >= deadline:
                raise errors.Unavailable(f"no signed tree head of size {needed} yet",
                                         code="UNAVAILABLE", retry_after=5.0)
            time.sleep(0.25)

    def _write_log(self, head, key) -> None:
        self._files.write("log/origin.vkey", (str(key) + "\n").encode())
        self._files.write("log/checkpoint", self._head.encode())
        if self._witness:
            self._files.write("log/witness.vkey", f"{self._witness}\n".encode())
        writer = tiles.TileWriter(lambda path, data: self._files.write("log/" + path, data))
        for item in self._transport.pages("ledger", "ListEntries", led.ListEntriesRequest(),
                                          "entries", page_size=1000):
            if writer.size == head.size:
                break
            if item.log_index != writer.size:
                raise errors.VerificationFailed(
                    f"entry {item.log_index} came where {writer.size} was due", code="DATA_LOSS")
            self._note(item.log_index, item.entry)
            writer.append(item.entry)
        if (writer.size, writer.root()) != (head.size, head.root):
            raise errors.VerificationFailed(
                f"the log's {writer.size} entries do not have the signed root of size {head.size}",
                code="DATA_LOSS")
        writer.finish()
        self._report.log_size = head.size
        self._write_tree_heads(head, key)
        self._say(f"log: {head.size} entries under a signed root")

    def _note(self, index: int, data: bytes) -> None:
        """Remembers what the bundle has to hold because of this entry."""
        entry = entries.decode(data)
        document = entry.hex("document_digest")
        if entry.kind == "AGENT_REGISTERED":
            self._agents[entry.subject] = document
        if entry.cooperative != self._cooperative.id:
            return
        if entry.kind == "DECISION_MADE":
            self._decisions[entry.subject] = entry.hex("decision_digest")
        elif entry.kind == "EVIDENCE_MADE":
            self._evidence[entry.subject] = entry.hex("evidence_digest")
        elif entry.kind == "COMPARISON_ENDED" and entry.hex("evidence_digest"):
            self._comparisons[entry.subject] = entry.hex("evidence_digest")
        elif entry.kind == "CREDIT_ASSIGNED":
            self._credits.append((index, entry))
        elif entry.kind == "MANDATE_GRANTED":
            self._mandated.add(entry.id("agent"))
        if document:
            self._documents[document] = (entry.service.lower(), entry.kind)

    def _write_tree_heads(self, head, key) -> None:
        """The first and the last signed heads up to the bundle's."""
        first = last = None
        for item in self._transport.pages("ledger", "ListTreeHeads", led.ListTreeHeadsRequest(),
                                          "tree_heads", page_size=1000):
            if item.note and item.size <= head.size:
                first, last = first or item, item
        notes = {item.size: item.note for item in (first, last) if item is not None}
        notes.setdefault(head.size, self._head)
        for size, text in sorted(notes.items()):
            note.Checkpoint.open(text, key)
            self._files.write(f"log/checkpoints/{size}", text.encode())

    # ---- What points into the log ----

    def _write_credits(self) -> None:
        for index, entry in self._credits:
            self._files.write(f"credits/{entry.subject}.json", canonical_json({
                "format": FORMAT, "update_id": entry.subject, "round_id": entry.id("round"),
                "principal_id": entry.id("principal"),
                "credit_nanonats": entry.fields["credit_nano_nats"],
                "evidence_sha256": entry.hex("evidence_digest"), "log_index": index,
                "event_id": entry.event_id}))
            self._report.credits += 1

    def _write_statements(self, statements) -> None:
        for statement in statements:
            self._files.write(f"statements/{statement.epoch_id}.{statement.principal_id}.json",
                              statement_json(statement))
            self._report.statements += 1

    def _write_documents(self) -> None:
        for agent in self._mandated & set(self._agents):
            self._documents[self._agents[agent]] = ("governance", "AGENT_REGISTERED")
        missing = collections.Counter()
        for digest, (service, kind) in sorted(self._documents.items()):
            document = fetch_document(self._transport, service, digest)
            if document is None:
                missing[kind] += 1
                continue
            if documents.digest(document) != digest or not documents.is_valid(document):
                raise errors.VerificationFailed(f"document {digest} is not what the log names",
                                                code="DATA_LOSS")
            self._files.write(f"documents/{digest}.json", documents.to_json(document))
            self._report.documents += 1
        for kind, count in sorted(missing.items()):
            self._withhold(f"{count} documents of {kind}: not shown to this caller")

    def _write_blobs(self, evidence: list, public: dict) -> None:
        for round_ in evidence:
            wanted = [(round_.get(name), "checkpoint", ("attribution",))
                      for name in ("base_sha256", "next_sha256", "best_sha256")]
            wanted.append((round_.get("rows_sha256"), "validation rows", ("attribution",)))
            # Where the model is a TorchScript module.
            wanted.append((round_.get("losses_sha256"), "losses", ("attribution",)))
            wanted.append((round_.get("model", {}).get("module_sha256"), "module",
                           ("attribution",)))
            for update in round_.get("updates", ()):
                digest = update.get("effective_sha256")
                if public.get(digest):
                    wanted.append((digest, "update", ("filter", "attribution")))
                else:
                    self._withhold(f"update {update.get('update_id')}: no consent to publication")
            for digest, what, services in wanted:
                if digest and not self._fetch_blob(digest, services):
                    self._withhold(f"{what} {digest} of round {round_.get('number')}: sealed or "
                                   "deleted")
        self._say(f"{self._report.blobs} blobs")

    def _fetch_blob(self, digest: str, services) -> bool:
        for service in services:
            try:
                if self._files.write_blob(digest, lambda file, s=service: uploads.download_to(
                        self._transport, s, digest, file, BLOB_BYTES_MAX)):
                    self._report.blobs += 1
                return True
            except (errors.NotFound, errors.PermissionDenied):
                continue
        return False

    def _withhold(self, line: str) -> None:
        if line not in self._report.withheld:
            self._report.withheld.append(line)

    # ---- The manifest ----

    def _sign(self, key) -> None:
        manifest = canonical_json({"format": FORMAT, "cooperative_id": self._cooperative.id,
                                   "files": self._files.listed})
        digest = hashlib.sha256(manifest).hexdigest()
        (self._partial / "manifest.json").write_bytes(manifest)
        # The same manifest asked for again is the same request.
        request_id = self._client.key.derived_id("bundle", self._cooperative.id, digest)
        signed = self._transport.call("ledger", "SignBundle", led.SignBundleRequest(
            request_id=request_id, cooperative_id=self._cooperative.id,
            manifest_sha256=digest)).note
        check_manifest_note(signed, key, digest)
        (self._partial / "manifest.sig").write_bytes(signed.encode())
        self._report.files = len(self._files.listed) + 2
        self._report.size_bytes = sum(f["size"] for f in self._files.listed.values())


def export(client, cooperative, out, all_statements: bool = False, say=None) -> Report:
    """Writes an evidence bundle into the new folder `out`. Statements: the caller's own, or (for
    founders and auditors) everybody's with all_statements. FileExistsError, RochdaleError."""
    return Exporter(client, cooperative, out, all_statements, say).run()
