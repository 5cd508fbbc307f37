"""The second verifier's lineages (section 6.1 of docs/evidence.md)."""

from second_basics import SLACK_US, need, parameter_values


def owners_of(log, decision, commitment):
    """What the attestation that the decision names says, which has to be the last."""
    attested = log.events.get(decision.fields.get(27))
    need((27 in decision.fields) == (attested is not None), "the attestation is in the log")
    after = -1
    if attested is not None:
        need((attested.kind, attested.subject) == (114, commitment.fields[10]), "its principal's")
        after = attested.time
    need(not any(after < e.time <= commitment.time - SLACK_US
                 for e in log.about(114, commitment.fields[10])), "the last attestation")
    packed = attested.fields.get(25, b"") if attested is not None else b""
    return {packed[i:i + 32] for i in range(0, len(packed), 32)}


def together(log, cooperative, first, last):
    """Whether those without owners are one lineage; None where that changed meanwhile."""
    values = {value == "together" for value in parameter_values(
        log, cooperative, "lineage.unattested", "apart", first, last)}
    return values.pop() if len(values) == 1 else None


def check(evidence, round_id, log):
    decisions = {}  # by update, in the order of commitment
    for made in log.kind(205):
        if made.fields[13] == round_id:
            decisions[log.only(203, made.subject).index] = made
    decisions = [(log.entries[index], made) for index, made in sorted(decisions.items())]
    need(decisions, "a round without decisions")
    cooperative = decisions[0][0].cooperative
    joined = together(log, cooperative, decisions[0][0].time, max(d.time for _, d in decisions))
    lineages, admitted, parts = [], set(), []
    for commitment, made in decisions:
        owners = owners_of(log, made, commitment)
        lineage, passes = made.fields.get(26), made.fields[81] in (1, 2, 3)
        need(lineage is not None or not passes, "an update of no lineage")
        if lineage is None:
            continue
        if lineage not in lineages:
            need(lineage == made.subject, "a lineage has the name of its earliest update")
            lineages.append(lineage)
        need(not passes or lineage not in admitted, "one of a lineage")
        if passes:
            admitted.add(lineage)
        parts.append((made, lineage, passes, {commitment.fields[10]} | owners, bool(owners)))
    need(len(lineages) == evidence["lineages"], "the number of lineages")
    groups = []  # [names, members], merged where names meet
    for i, (_, _, _, names, attested) in enumerate(parts):
        names = names if attested or not joined else names | {"unattested"}
        meeting = [g for g in groups if g[0] & names]
        groups = [g for g in groups if not g[0] & names]
        groups.append((names.union(*(g[0] for g in meeting)),
                       sorted([i] + [m for g in meeting for m in g[1]])))
    for _, members in groups:
        first = parts[members[0]]
        refused = first[0].fields.get(35) == "OWNER_HAS_UPDATE"
        need(not refused or (joined is None and not first[4]), "refused for an earlier one")
        for i in members[1:]:
            need(not parts[i][2] and parts[i][1] == first[1], "the owner's first counts")
