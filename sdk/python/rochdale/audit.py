"""From a payment back to a signature: `rochdale audit chain --payment TRANSFER_ID`.

Walks transfer -> statement -> credits -> decision -> commitment -> mandate -> consent ->
registration, by the entries' own pointers, and checks every inclusion and every signature it can:
in an evidence bundle without any network, or against a running cooperative.
"""

import dataclasses
import hashlib
import json

from rochdale import documents, errors
from rochdale.evidence import BundleSource, Check, OnlineSource

STEPS_MAX = 100_000
DEPTH_MAX = 64
_VERDICTS = {1: "ALLOW", 2: "PROJECT", 3: "OBLIGE", 4: "REVIEW", 5: "DENY"}
# What of a signed document must stand in its entry: field -> value by the entry.
_BODIES = {
    "UPDATE_COMMITTED": {"update_id": lambda e: e.subject, "agent_id": lambda e: e.id("agent"),
                         "round_id": lambda e: e.id("round")},
    "MANDATE_GRANTED": {"mandate_id": lambda e: e.subject, "agent_id": lambda e: e.id("agent"),
                        "principal_id": lambda e: e.id("principal"),
                        "cooperative_id": lambda e: e.cooperative,
                        "expires_us": lambda e: e.fields["expires_us"]},
    "AGENT_REGISTERED": {"agent_id": lambda e: e.subject,
                         "principal_id": lambda e: e.id("principal"),
                         "public_key": lambda e: e.hex("registered_key")},
    "MEMBERSHIP_CONSENTED": {"principal_id": lambda e: e.subject,
                             "cooperative_id": lambda e: e.cooperative,
                             "rules_version": lambda e: e.fields["rules_version"]},
    "EPOCH_CLOSED": {"epoch_id": lambda e: e.subject, "pool_id": lambda e: e.id("pool")},
}


@dataclasses.dataclass
class Step:
    """One log entry of the walk, with what was checked and what allowed it."""
    title: str
    index: int = -1
    event_id: str = ""
    checks: list = dataclasses.field(default_factory=list)
    children: list = dataclasses.field(default_factory=list)

    def all_checks(self):
        yield from self.checks
        for child in self.children:
            yield from child.all_checks()

    def lines(self, indent: str = "") -> list:
        place = f"  [entry {self.index}]" if self.index >= 0 else ""
        out = [f"{indent}{self.title}{place}"]
        out += [f"{indent}  - {check}" for check in self.checks]
        for child in self.children:
            out += child.lines(indent + "  ")
        return out

    def to_dict(self) -> dict:
        return {"title": self.title, "entry_index": self.index, "event_id": self.event_id,
                "checks": [dataclasses.asdict(c) for c in self.checks],
                "children": [c.to_dict() for c in self.children]}


@dataclasses.dataclass
class Chain:
    """The whole walk. ok: nothing failed and it ended at signatures of principals."""
    root: Step
    trust: str
    authorities: list  # (principal id, public key hexadecimal): signatures that were verified
    claimed: list      # the same where only the log says so: the document is not shown here

    @property
    def failures(self) -> list:
        return [c for c in self.root.all_checks() if c.ok is False]

    @property
    def ok(self) -> bool:
        return not self.failures and bool(self.authorities)

    def __str__(self):
        lines = [self.trust, *self.root.lines()]
        for principal, key in self.authorities:
            lines.append(f"authorised by the signature of principal {principal} (key {key})")
        for principal, key in self.claimed:
            lines.append(f"the log names principal {principal} (key {key}) as the signer, but the "
                         "signed document is not shown here")
        if not self.authorities:
            lines.append("NOT shown to be authorised by the signature of any principal")
        if self.failures:
            lines.append(f"{len(self.failures)} checks FAILED")
        return "\n".join(lines)

    def to_dict(self) -> dict:
        return {"ok": self.ok, "trust": self.trust, "chain": self.root.to_dict(),
                "authorities": [{"principal_id": p, "public_key": k}
                                for p, k in self.authorities],
                "claimed": [{"principal_id": p, "public_key": k} for p, k in self.claimed]}


# ---- The walk ----


class _Walk:
    def __init__(self, source):
        self._source, self._steps, self._seen = source, 0, {}
        self.authorities: dict = {}
        self.claimed: dict = {}

    def _load(self, event_id: str, what: str, kinds: tuple):
        """A Step for an entry with its own checks, and the Entry; or a failed Step and None."""
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise errors.VerificationFailed("the chain is too long", code="DATA_LOSS")
        found = self._source.entry(event_id) if event_id else None
        if found is None:
            return Step(f"{what}: missing", event_id=event_id, checks=[
                Check("in the log", False, f"no entry {event_id or 'is named'}")]), None
        return self._checked(found, what, kinds)

    def _checked(self, found, what: str, kinds: tuple):
        index, entry, inclusion = found
        step = Step(f"{what}: {entry.kind}", index, entry.event_id, [inclusion])
        if kinds and entry.kind not in kinds:
            step.checks.append(Check("kind", False, f"expected {' or '.join(kinds)}"))
            return step, None
        self._check_signature(step, entry)
        return step, entry

    def _check_signature(self, step: Step, entry) -> None:
        digest, key = entry.hex("document_digest"), entry.hex("public_key")
        if not digest:
            return
        document = self._source.document(entry.service.lower(), digest)
        if document is None:
            step.checks.append(Check(f"signed by {key}", None,
                                     f"document {digest} is not shown here"))
            return
        ok = (documents.is_valid(document) and documents.digest(document) == digest
              and document.public_key.hex() == key
              and document.signature.hex() == entry.hex("signature")
              and document.type == entry.fields.get("document_type"))
        step.checks.append(Check(f"signed by {key}", ok, f"document {digest}"))
        if ok and entry.kind in _BODIES:
            self._check_body(step, entry, document)

    def _check_body(self, step: Step, entry, document) -> None:
        """Whether the entry says what was signed."""
        try:
            body = documents.decode(document)
            wrong = [name for name, said in _BODIES[entry.kind].items()
                     if getattr(body, name) != said(entry)]
        except (ValueError, AttributeError) as error:
            wrong = [str(error)]
        step.checks.append(Check("says what was signed", not wrong, ", ".join(wrong)))

    def transfer(self, transfer_id: str) -> Step:
        found = self._source.entry_about("TRANSFER_POSTED", transfer_id)
        if found is None:
            return Step(f"transfer {transfer_id}", checks=[
                Check("in the log", False, "no entry posts this transfer")])
        step, entry = self._checked(found, f"transfer {transfer_id}", ("TRANSFER_POSTED",))
        step.title = (f"transfer {transfer_id}: {entry.fields['amount'] / 1e6:.6f} tokens to "
                      f"account {entry.id('credit_account')}")
        if entry.hex("public_key"):
            self._check_holder(step, entry, entry.id("principal"), is_authority=True)
        if not entry.authorised_by:
            step.checks.append(Check("authorised", False, "the entry names no authority"))
            return step
        cause = self._source.entry(entry.authorised_by)
        if cause is not None and cause[1].kind == "STATEMENT_ISSUED":
            step.children.append(self._statement(entry))
        elif cause is not None:
            # An order that a person signed, or an emission by genesis.
            step.children.append(self.authority(entry.authorised_by))
        else:
            step.checks.append(Check("authorised", False, f"no entry {entry.authorised_by}"))
        return step

    def _statement(self, transfer) -> Step:
        step, entry = self._load(transfer.authorised_by, "statement", ("STATEMENT_ISSUED",))
        if entry is None:
            return step
        paid, due = transfer.fields["amount"], entry.fields["amount"]
        step.title = f"statement of principal {entry.id('principal')}: {due / 1e6:.6f} tokens due"
        step.checks.append(Check("amount", paid == due, f"{paid} of {due} micro-tokens"))
        if "account" in entry.fields:
            step.checks.append(Check("account", entry.id("account")
                                     == transfer.id("credit_account"), entry.id("account")))
        step.children.append(self.authority(entry.authorised_by))
        credits = [self._credit(event, entry) for event in entry.ids("credit_entries")]
        total = sum(value for _, value in credits)
        step.children += [child for child, _ in credits]
        if "credit_nano_nats" in entry.fields:
            wanted = entry.fields["credit_nano_nats"]
            step.checks.append(Check("credits add up", total == wanted,
                                     f"{total} of {wanted} nano-nats"))
        if not credits:
            step.checks.append(Check("credits", due == 0, "the statement names none"))
        return step

    def _credit(self, event_id: str, statement):
        step, entry = self._load(event_id, "credit", ("CREDIT_ASSIGNED",))
        if entry is None:
            return step, 0
        value = entry.fields["credit_nano_nats"]
        step.title = f"credit of update {entry.subject}: {value} nano-nats"
        step.checks.append(Check("principal", entry.id("principal") == statement.id("principal"),
                                 entry.id("principal")))
        self._check_evidence(step, entry, value)
        step.children.append(self._decision(entry))
        return step, value

    def _check_evidence(self, step: Step, entry, value: int) -> None:
        body = self._source.evidence(entry.id("round"))
        if body is None:
            step.checks.append(Check("evidence", None, "not shown here"))
            return
        digest_ok = hashlib.sha256(body).hexdigest() == entry.hex("evidence_digest")
        step.checks.append(Check("evidence", digest_ok, entry.hex("evidence_digest")))
        if digest_ok:
            try:
                said = [int(c["credit_nanonats"]) for c in json.loads(body)["credits"]
                        if c["update_id"] == entry.subject]
            except (ValueError, KeyError, TypeError) as error:
                said = [f"malformed: {error}"]
            step.checks.append(Check("credit as in the evidence", said == [value],
                                     f"{value} nano-nats, evidence {said}"))

    def _decision(self, credit) -> Step:
        step, entry = self._load(credit.authorised_by, "decision", ("DECISION_MADE",))
        if entry is None:
            return step
        verdict = _VERDICTS.get(entry.fields["verdict"], str(entry.fields["verdict"]))
        step.title = f"decision on update {entry.subject}: {verdict}"
        step.checks.append(Check("same update", entry.subject == credit.subject, entry.subject))
        step.checks.append(Check("may train", verdict in ("ALLOW", "PROJECT", "OBLIGE"), verdict))
        body = self._source.decision(entry.subject)
        digest = entry.hex("decision_digest")
        step.checks.append(Check("record", None if body is None else
                                 hashlib.sha256(body).hexdigest() == digest, digest))
        step.children.append(self._commitment(entry, credit.id("principal")))
        return step

    def _commitment(self, decision, principal: str) -> Step:
        step, entry = self._load(decision.authorised_by, "commitment", ("UPDATE_COMMITTED",))
        if entry is None:
            return step
        step.title = f"commitment of agent {entry.id('agent')} to update {entry.subject}"
        step.checks.append(Check("same update", entry.subject == decision.subject, entry.subject))
        step.checks.append(Check("principal", entry.id("principal") == principal, principal))
        agent = self._source.entry_about("AGENT_REGISTERED", entry.id("agent"))
        if agent is None:
            step.checks.append(Check("agent's key", False, "the agent is not registered"))
        else:
            child, registered = self._checked(agent, "agent", ("AGENT_REGISTERED",))
            child.title = f"registration of agent {registered.subject}"
            child.checks.append(Check(
                "agent's key", registered.hex("registered_key") == entry.hex("public_key"),
                f"{entry.hex('public_key')}"))
            self._check_holder(child, registered, principal, is_authority=False)
            step.children.append(child)
        step.children.append(self._mandate(entry, principal))
        return step

    def _mandate(self, commitment, principal: str) -> Step:
        step, entry = self._load(commitment.authorised_by, "mandate", ("MANDATE_GRANTED",))
        if entry is None:
            return step
        step.title = f"mandate {entry.subject} for agent {entry.id('agent')}"
        step.checks.append(Check("agent", entry.id("agent") == commitment.id("agent"),
                                 entry.id("agent")))
        step.checks.append(Check("principal", entry.id("principal") == principal, principal))
        step.checks.append(Check("in force", commitment.time_us < entry.fields["expires_us"]))
        self._check_holder(step, entry, principal, is_authority=True)
        step.children.append(self.authority(entry.authorised_by))
        return step

    def _check_holder(self, step: Step, entry, principal: str, is_authority: bool) -> None:
        """Whether the signer's key is the one that the principal registered."""
        registered = self._source.entry_about("PRINCIPAL_REGISTERED", principal)
        key = entry.hex("public_key")
        ok = registered is not None and registered[1].hex("registered_key") == key and key != ""
        step.checks.append(Check("signer's key", ok, f"{key} of principal {principal}"))
        signed = [c for c in step.checks if c.what == f"signed by {key}"]
        if is_authority and ok and signed and all(c.ok is not False for c in signed):
            (self.authorities if all(c.ok for c in signed) else self.claimed)[principal] = key

    def authority(self, event_id: str, depth: int = 0) -> Step:
        """An entry and what allowed it, up to the root."""
        if depth > DEPTH_MAX:
            raise errors.VerificationFailed("the chain is too deep", code="DATA_LOSS")
        if event_id in self._seen:
            return Step(f"{self._seen[event_id]} (shown above)", event_id=event_id)
        step, entry = self._load(event_id, "allowed by", ())
        if entry is None:
            return step
        self._seen[event_id] = f"{entry.kind} of {entry.subject}"
        step.title = f"{entry.kind} of {entry.subject or 'the log'}"
        if entry.kind == "PRINCIPAL_REGISTERED":
            step.title += f", key {entry.hex('registered_key')}"
            step.checks.append(Check("key", entry.hex("registered_key")
                                     == entry.hex("public_key"), "signed with the key itself"))
        elif entry.kind in ("MEMBERSHIP_CONSENTED", "MEMBERSHIP_REQUESTED"):
            self._check_holder(step, entry, entry.subject, is_authority=False)
        if entry.authorised_by:
            step.children.append(self.authority(entry.authorised_by, depth + 1))
        return step


def chain(source, transfer_id: str) -> Chain:
    """The walk from a payment. Raises only where the source itself cannot be read."""
    walk = _Walk(source)
    try:
        root = walk.transfer(transfer_id)
    except KeyError as error:
        raise errors.VerificationFailed(f"an entry of the chain lacks the field {error}",
                                        code="DATA_LOSS") from error
    claimed = {p: k for p, k in walk.claimed.items() if p not in walk.authorities}
    return Chain(root, source.trust, sorted(walk.authorities.items()), sorted(claimed.items()))


__all__ = ["BundleSource", "Chain", "Check", "OnlineSource", "Step", "chain"]
