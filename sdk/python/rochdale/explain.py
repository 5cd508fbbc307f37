"""What became of an update, in words."""

from rochdale import protos

STATES = protos.filter.UpdateState
FINAL = {STATES.Value("UPDATE_STATE_" + s) for s in (
    "REJECTED", "APPLIED", "NOT_APPLIED", "SETTLED", "EXPIRED", "NOT_TAKEN")}
DECIDED = FINAL | {STATES.Value("UPDATE_STATE_" + s) for s in (
    "ADMITTED", "PROJECTED", "EVALUATED")}

_TITLES = {
    "COMMITTED": "committed, not revealed yet",
    "UPLOADING": "its bytes are arriving",
    "RECEIVED": "received, waiting to be screened",
    "SCREENING": "being screened",
    "ADMITTED": "admitted as submitted",
    "PROJECTED": "projected: its conforming part was admitted",
    "IN_REVIEW": "waiting for a person's review",
    "REJECTED": "rejected",
    "EVALUATED": "admitted and evaluated",
    "APPLIED": "admitted and applied: it is part of the next checkpoint",
    "NOT_APPLIED": "admitted, but not applied to the next checkpoint",
    "SETTLED": "settled",
    "EXPIRED": "expired: it was committed to and not revealed in time",
    "NOT_TAKEN": "not taken: another candidate of yours was used",
}


def state_name(update) -> str:
    return STATES.Name(update.state).removeprefix("UPDATE_STATE_")


def _short(enum, value, prefix) -> str:
    return enum.Name(value).removeprefix(prefix)


def finding_lines(finding) -> list:
    rule, f = protos.rule, protos.filter
    verdict = _short(f.Verdict, finding.verdict, "VERDICT_")
    scope = _short(f.RuleScope, finding.scope, "RULE_SCOPE_").lower()
    kind = _short(rule.RuleKind, finding.kind, "RULE_KIND_").lower().replace("_", " ")
    whose = {"floor": "floor", "principal": "your own profile", "pack": "community pack"}
    text = f"  {verdict:<8}{kind} (rule {finding.rule_id}, {whose.get(scope, scope)})"
    if finding.measured:
        bound = f", bound {finding.threshold}" if finding.threshold else ""
        text += f": measured {finding.measured}{bound}"
    if finding.probe_id:
        text += f", probe {finding.probe_id}"
    if finding.rows:
        text += f", on {finding.rows:,} of {finding.of_rows:,} rows"
    lines = [text]
    if finding.reason:
        meaning = protos.reasons.REASONS.get(finding.reason, ("", ""))[1]
        lines.append(f"          {finding.reason}: {meaning}".rstrip(": "))
    if finding.advice:
        lines.append(f"          advice: {finding.advice}")
    return lines


def explain(update, decision=None, credit=None) -> str:
    """The text for an Update with its Decision and Credit, where they are there."""
    state = state_name(update)
    lines = [f"update {update.update_id}: {_TITLES.get(state, state.lower())}"]
    if update.reason:
        meaning = protos.reasons.REASONS.get(update.reason, ("", ""))[1]
        lines.append(f"  {update.reason}: {meaning}".rstrip(": "))
    if decision is not None:
        findings = sorted(decision.findings, key=lambda f: (-f.verdict, f.scope, f.rule_id))
        if update.state == STATES.Value("UPDATE_STATE_PROJECTED") or any(
                f.verdict == protos.filter.VERDICT_PROJECT for f in findings):
            lines.append("  the part that went against a protected probe was removed; the rest "
                         "counts")
        for finding in findings:
            lines += finding_lines(finding)
        if decision.fit_micro:
            lines.append(f"  fit with your preferences: {decision.fit_micro / 1e6:+.3f}")
        lines.append(f"  decided by engine {decision.engine_version or '?'}, log entry "
                     f"{decision.entry.event_id or 'pending'}")
    if credit is not None:
        lines.append(f"  credit {credit.credit_nanonats} nano-nats per row (estimate "
                     f"{credit.estimate_nanonats} ± {credit.standard_error_nanonats}; alone "
                     f"{credit.solo_nanonats}, leave-one-out {credit.leave_one_out_nanonats})")
    return "\n".join(lines)
