"""Evidence bundles: `rochdale export --cooperative SLUG --out DIR`.

Collects what an outsider needs to check a cooperative, as docs/evidence.md describes it, and
verifies on the way whatever this client can: the log's root, every digest, the manifest's
signature. Nothing is kept in memory but one log bundle and the list of files; a bundle that could
not be finished is left behind as DIR.partial and never as DIR.
"""

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
BLOB_BYTES_MAX = 4 * 1024 * 1024 * 1024
# Documents with names of people: their signers have them, a bundle does not.
PERSONAL_KINDS = {"PRINCIPAL_REGISTERED", "AGENT_REGISTERED", "AGENT_PAUSED", "AGENT_RESUMED"}

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
        self._index = {}         # event id -> index, of the entries the bundle points to
        self._wanted = set()     # those event ids
        self._decided = {}       # event id of a decision -> digest of its body
        self._documents = {}     # digest -> (service, kind), of this cooperative
        self._head = None

    def run(self) -> Report:
        if self._out.exists() and (not self._out.is_dir() or any(self._out.iterdir())):
            raise FileExistsError(f"{self._out} is there already")
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(parents=True)
        rounds, credits = self._collect_rounds(), list(self._cooperative.credits("", ""))
        statements = self._collect_statements()
        self._wanted |= {c.entry.event_id for c in credits} - {""}
        self._wanted |= {s.entry.event_id for s in statements} - {""}
        head, key = self._wait_for_head(rounds)
        self._write_log(head, key)
        self._write_credits(credits, statements)
        self._write_documents()
        self._write_blobs(rounds)
        self._sign(key)
        if self._out.exists():
            self._out.rmdir()
        os.replace(self._partial, self._out)
        return self._report

    # ---- Rounds, decisions, statements ----

    def _collect_rounds(self) -> list:
        """[(round, evidence or None, updates)], with the files of rounds/ and decisions/."""
        found = []
        for round_ in self._cooperative.rounds():
            if round_.state not in (att.ROUND_STATE_CLOSED, att.ROUND_STATE_ABANDONED):
                continue
            updates = self._cooperative.updates(round_.round_id)
            evidence = None
            if round_.state == att.ROUND_STATE_CLOSED:
                evidence = self._write_evidence(round_)
            for update in updates:
                self._write_decision(update)
            if round_.closed_entry.event_id:
                self._wanted.add(round_.closed_entry.event_id)
            found.append((round_, evidence, updates))
            self._say(f"round {round_.number}: {len(updates)} updates")
        return found

    def _write_evidence(self, round_) -> dict:
        response = self._transport.call("attribution", "GetEvidence",
                                        att.GetEvidenceRequest(round_id=round_.round_id))
        check_digest(f"evidence of round {round_.number}", response.body, response.sha256)
        self._files.write(f"rounds/{round_.round_id}.json", response.body)
        self._report.rounds += 1
        return json.loads(response.body)

    def _write_decision(self, update) -> None:
        try:
            decision = self._transport.call(
                "filter", "GetDecision",
                flt.GetDecisionRequest(update_id=update.update_id)).decision
        except (errors.NotFound, errors.PermissionDenied):
            return
        if not decision.body:
            self._withhold(f"decision on {update.update_id}: not shown to this caller")
            return
        self._files.write(f"decisions/{update.update_id}.json", decision.body)
        self._report.decisions += 1
        if decision.entry.event_id:
            self._decided[decision.entry.event_id] = hashlib.sha256(decision.body).hexdigest()
            self._wanted.add(decision.entry.event_id)

    def _collect_statements(self) -> list:
        if not self._all_statements:
            own = list(self._client.statement()) if self._client.identity else []
            return [s for s in own if s.principal_id == self._client.principal_id]
        try:
            pool = self._transport.call("payout", "GetPool", pay.GetPoolRequest(
                cooperative_id=self._cooperative.id)).pool
        except errors.NotFound:
            return []
        found = []
        for epoch in self._transport.pages("payout", "ListEpochs",
                                           pay.ListEpochsRequest(pool_id=pool.pool_id), "epochs"):
            for event in (epoch.closed_entry.event_id, epoch.settled_entry.event_id):
                self._wanted |= {event} - {""}
            found += self._transport.pages(
                "payout", "ListStatements",
                pay.ListStatementsRequest(epoch_id=epoch.epoch_id), "statements")
        return found

    # ---- The log ----

    def _wait_for_head(self, rounds):
        """A signed head that covers every entry the bundle points to."""
        deadline = time.monotonic() + LOG_WAIT_SECONDS
        needed = 0
        for event in sorted(self._wanted):
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
            self._index[event] = found.entry.log_index
            needed = max(needed, found.entry.log_index + 1)
        while True:
            response = self._transport.call("ledger", "GetTreeHead", led.GetTreeHeadRequest())
            key = self._client.log.key()
            if response.tree_head.size >= needed and response.tree_head.note:
                checkpoint = note.Checkpoint.open(response.tree_head.note, key)
                if checkpoint.size != response.tree_head.size:
                    raise errors.VerificationFailed("the signed head has another size",
                                                    code="DATA_LOSS")
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
        """Remembers of an entry what later steps need, and checks it against what was said."""
        entry = entries.decode(data)
        known = self._index.get(entry.event_id)
        if known is not None and known != index:
            raise errors.VerificationFailed(
                f"entry {entry.event_id} stands at {index}, not at {known}", code="DATA_LOSS")
        digest = self._decided.get(entry.event_id)
        if digest is not None and entry.hex("decision_digest") != digest:
            raise errors.VerificationFailed(
                f"the decision on {entry.subject} is not the one that the log commits to",
                code="DATA_LOSS")
        if entry.cooperative == self._cooperative.id and entry.kind not in PERSONAL_KINDS:
            document = entry.hex("document_digest")
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

    def _write_credits(self, credits, statements) -> None:
        for credit in credits:
            event = credit.entry.event_id
            round_file = f"rounds/{credit.round_id}.json"
            if not event or round_file not in self._files.listed:
                self._withhold(f"credit of {credit.update_id}: no log entry or evidence")
                continue
            self._files.write(f"credits/{credit.update_id}.json", canonical_json({
                "format": FORMAT, "update_id": credit.update_id, "round_id": credit.round_id,
                "round_file": round_file, "credit_nanonats": credit.credit_nanonats,
                "entry_index": self._index[event], "event_id": event}))
            self._report.credits += 1
        for statement in statements:
            event = statement.entry.event_id
            if not event:
                continue
            self._files.write(
                f"statements/{statement.epoch_id}-{statement.principal_id}.json",
                statement_json(statement, self._index[event]))
            self._report.statements += 1

    def _write_documents(self) -> None:
        for digest, (service, kind) in sorted(self._documents.items()):
            document = fetch_document(self._transport, service, digest)
            if document is None:
                self._withhold(f"document {digest} of a {kind}: not shown to this caller")
                continue
            if documents.digest(document) != digest or not documents.is_valid(document):
                raise errors.VerificationFailed(f"document {digest} is not what the log names",
                                                code="DATA_LOSS")
            self._files.write(f"documents/{digest}.json", documents.to_json(document))
            self._report.documents += 1

    def _write_blobs(self, rounds) -> None:
        for round_, evidence, updates in rounds:
            if evidence is None:
                continue
            public = {u.effective_sha256 for u in updates if u.consents_to_publication}
            wanted = [(evidence.get(name), "checkpoint", ("attribution",))
                      for name in ("base_sha256", "next_sha256", "best_sha256")]
            wanted.append((evidence.get("rows_sha256"), "validation rows", ("attribution",)))
            for update in evidence.get("updates", ()):
                digest = update.get("effective_sha256")
                if digest in public:
                    wanted.append((digest, "update", ("filter", "attribution")))
                elif digest:
                    self._withhold(f"update {update.get('update_id')}: no consent to publication")
            for digest, what, services in wanted:
                if digest and not self._fetch_blob(digest, services):
                    self._withhold(f"{what} {digest} of round {round_.number}: sealed or deleted")
            self._say(f"round {round_.number}: blobs")

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
