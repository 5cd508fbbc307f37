"""What came of a run, gathered through the SDK, and report.json.

Everything about a member comes from its own client: what it may see of itself.
"""

import dataclasses
import json

from rochdale import protos
from rochdale.rounds import Update

_VERDICT = protos.filter.Verdict
ALLOW, PROJECT, DENY = (_VERDICT.Value(f"VERDICT_{v}") for v in ("ALLOW", "PROJECT", "DENY"))
_CLOSED = protos.attribution.ROUND_STATE_CLOSED


@dataclasses.dataclass
class UpdateResult:
    """One update: `verdict` is admitted, projected, refused or undecided."""
    round_number: int
    update_id: str
    verdict: str
    reason: str = ""        # of a refusal, or why it was not applied
    findings: list = dataclasses.field(default_factory=list)  # what spoke against it, in words
    applied: bool = False
    credit_nanonats: int = 0
    estimate_nanonats: int = 0
    standard_error_nanonats: int = 0


@dataclasses.dataclass
class MemberResult:
    name: str
    role: str
    principal_id: str
    rows: int
    class_counts: list
    updates: list
    credit_nanonats: int = 0
    payment_microtokens: int = 0
    balance_microtokens: int = 0
    transfer_id: str = ""
    has_statement: bool = False

    def count(self, verdict: str) -> int:
        return sum(u.verdict == verdict for u in self.updates)

    @property
    def applied(self) -> int:
        return sum(u.applied for u in self.updates)


@dataclasses.dataclass
class RoundResult:
    number: int
    kind: str
    checkpoint: str
    validation_loss: float | None
    test_accuracy: float
    closed: bool = True
    reason: str = ""
    seconds: float = 0.0


@dataclasses.dataclass
class Result:
    settings: object
    rounds: list
    members: list
    first_accuracy: float
    resumed: int = 0         # how often the run was interrupted and went on
    revenue_microtokens: int = 0
    pool_left_microtokens: int = 0
    receipts_verified: int = 0
    receipts: int = 0
    bundle: str = ""
    bundle_summary: str = ""
    verification: list = dataclasses.field(default_factory=list)  # evidence.Verified
    tampered: str = ""       # what was changed in the copy, in words
    chain_text: str = ""
    chain_summary: list = dataclasses.field(default_factory=list)
    log_key: str = ""
    wall_seconds: float = 0.0
    checks: list = dataclasses.field(default_factory=list)

    @property
    def payments_microtokens(self) -> int:
        return sum(m.payment_microtokens for m in self.members)


def round_result(round_, checkpoint: str, accuracy: float) -> RoundResult:
    loss = round_.visible_loss_nanonats
    return RoundResult(
        number=round_.number, kind="submission", checkpoint=checkpoint,
        validation_loss=loss / 1e9 if loss else None, test_accuracy=accuracy,
        closed=round_.state == _CLOSED, reason=round_.reason,
        seconds=max(0, round_.closed_time_us - round_.opened_time_us) / 1e6)


def _verdict(update, decision) -> str:
    if decision is None:
        return "refused" if update.reason else "undecided"
    return {ALLOW: "admitted", PROJECT: "projected", DENY: "refused"}.get(decision.verdict,
                                                                        "undecided")


_IN_MILLIONTHS = {"MAGNITUDE", "ORIGINALITY", "VALUE_DIRECTION", "FIT"}
_IN_NANONATS = {"VALUE_EFFECT", "GROUP_HARM"}
_SCOPES = {"FLOOR": "the floor", "PACK": "a community's pack",
           "PRINCIPAL": "the member's own values"}


def _figure(kind: str, text: str) -> str:
    """A measured value or bound as people read it."""
    try:
        value = int(text)
    except ValueError:
        return text
    if kind in _IN_NANONATS:
        return f"{value / 1e9:.4f} nats"
    return f"{value / 1e6:.3f}" if kind in _IN_MILLIONTHS else text


def finding_text(finding) -> str:
    """One finding in words: rule, whose it is, what was measured against which bound."""
    kind = protos.rule.RuleKind.Name(finding.kind).removeprefix("RULE_KIND_")
    scope = protos.filter.RuleScope.Name(finding.scope).removeprefix("RULE_SCOPE_")
    text = (f"{kind.lower().replace('_', ' ')} by rule {finding.rule_id} of "
            f"{_SCOPES.get(scope, scope)}")
    if finding.measured:
        text += f": measured {_figure(kind, finding.measured)}"
        if finding.threshold:
            text += f", bound {_figure(kind, finding.threshold)}"
    return text


def _against(decision) -> list:
    """The findings that spoke against an update, the strongest first."""
    found = sorted((f for f in decision.findings if f.verdict > ALLOW), key=lambda f: -f.verdict)
    return [finding_text(f) for f in found]


def update_results(participant, rounds: list) -> list:
    """Every update of a participant's agent in these rounds."""
    client = participant.agent
    cooperative = client.cooperative()
    credits = {c.update_id: c for c in cooperative.credits()}
    found = []
    for round_ in rounds:
        for update in cooperative.updates(round_.round_id):
            if update.agent_id != participant.agent_id:
                continue
            handle = Update(client, update)
            decision = handle.decision()
            result = UpdateResult(round_.number, update.update_id, _verdict(update, decision),
                                  update.reason, _against(decision) if decision else [])
            credit = credits.get(update.update_id)
            if credit is not None:
                result.applied = credit.applied
                result.credit_nanonats = credit.credit_nanonats
                result.estimate_nanonats = credit.estimate_nanonats
                result.standard_error_nanonats = credit.standard_error_nanonats
            found.append(result)
    return found


def member_result(participant, shard, rounds: list) -> MemberResult:
    updates = update_results(participant, rounds)
    return MemberResult(
        name=participant.name, role=participant.member.role, principal_id=participant.id,
        rows=len(shard.train) if shard else 0,
        class_counts=list(shard.class_counts) if shard else [], updates=updates,
        credit_nanonats=sum(u.credit_nanonats for u in updates))


def add_payment(result: MemberResult, participant, epoch_id: str) -> None:
    """What the member's own statement says, and what is on its account."""
    for statement in participant.client.statement():
        if statement.epoch_id == epoch_id:
            result.has_statement = True
            result.payment_microtokens = statement.payment_microtokens
            result.transfer_id = statement.transfer_id
            if statement.payment_microtokens:
                request = protos.ledger.GetAccountRequest(account_id=statement.account_id)
                result.balance_microtokens = participant.client.transport.call(
                    "ledger", "GetAccount", request).account.balance_micro


def report_json(result: Result) -> dict:
    """The keys that programs read."""
    return {
        "seed": result.settings.seed,
        "wall_seconds": round(result.wall_seconds, 1),
        "revenue_microtokens": result.revenue_microtokens,
        "payments_sum_microtokens": result.payments_microtokens,
        "rounds": [{"number": r.number, "kind": r.kind, "checkpoint": r.checkpoint,
                    "validation_loss": r.validation_loss,
                    "test_accuracy": round(r.test_accuracy, 4)} for r in result.rounds],
        "agents": [{
            "name": m.name, "role": m.role, "submitted": len(m.updates),
            "admitted": m.count("admitted"), "projected": m.count("projected"),
            "refused": [{"update": u.update_id, "reason": u.reason}
                        for u in m.updates if u.verdict == "refused"],
            "applied": m.applied, "credit_nanonats": m.credit_nanonats,
            "payment_microtokens": m.payment_microtokens} for m in result.members],
        "evidence_bundle": result.bundle,
        "verification": {
            "ok": bool(result.verification) and all(v.ok for v in result.verification),
            "checks": [{"name": v.name, "ok": v.ok, "detail": v.detail}
                       for v in result.verification]},
        "checks": [dataclasses.asdict(c) for c in result.checks],
    }


def write_report_json(result: Result, path) -> None:
    path.write_text(json.dumps(report_json(result), indent=1) + "\n", encoding="utf-8")
