"""The second verifier's test of values (sections 6.1 and 6.7 of docs/evidence.md)."""

from second_basics import need, parameter_values, uuid_raw

NAMES = {"kind": {"RULE_KIND_VALUE_EFFECT", "6", 6}, "mode": {"RULE_MODE_REFUSE", "1", 1,
                                                              "RULE_MODE_REVIEW", "3", 3}}


def bounds_of(genesis, default):
    bounds = {}
    for rule in genesis.get("floor", []):
        if all(rule.get(member) in names for member, names in NAMES.items()):
            stated = int(rule.get("epsNanonats", rule.get("eps_nanonats", 0)))
            for probe in rule.get("probeIds", rule.get("probe_ids", [])):
                bounds[probe] = min(bounds.get(probe, 1 << 63), stated or default)
    return sorted(bounds.items())


def check_bounds(evidence, round_id, log, genesis_of):
    """That those of the floor were tested, where the gate left anybody. `genesis_of`: a
    cooperative's Genesis, or None."""
    decisions = [made for made in log.kind(205) if made.fields[13] == round_id]
    genesis = genesis_of(decisions[0].cooperative)
    if genesis is None:
        return
    tested = [(b["probe_id"], b["eps_nanonats"]) for b in evidence.get("values", {}).get(
        "bounds", [])]
    if all(credit["harmful"] for credit in evidence["credits"]):
        need(not tested, "values of nobody")
        return
    times = [made.time for made in decisions]
    times += [log.only(203, made.subject).time for made in decisions]
    need(any(tested == bounds_of(genesis, default)
             for default in map(int, parameter_values(
                 log, decisions[0].cooperative, "value.effect_eps_nanonats", "10000000",
                 min(times), max(times)))),
         "the bounds of the floor")


def check_reasons(evidence, log):
    """That the log gives the evidence's reason for whoever was left out."""
    applied = int(evidence["applied_mask"])
    for i, credit in enumerate(evidence["credits"]):
        left_out = log.about(311, uuid_raw(credit["update_id"]))
        need((applied >> i & 1) != len(left_out), "applied or left out")
        for entry in left_out:
            need(entry.fields[35] == ("NOT_APPLIED_HARMFUL" if credit["harmful"]
                                      else "NOT_APPLIED_VALUES"), "why it was left out")


def kept(gate, values):
    """What the test of values leaves of what the gate leaves."""
    if values is None:
        return gate
    masks = [int(m) for m in values["masks"]]
    sums = [[int(s) for s in of_bound] for of_bound in values["loss_sums"]]
    need(all(len(s) == len(masks) for s in sums) and len(sums) == len(values["bounds"]), "values")
    need(masks[:2] == [0, gate], "values: what is tested first")
    left, at, seen = gate, 1, 2
    while True:
        excess = [-((s[0] - s[at]) // bound["rows"]) - bound["eps_nanonats"]
                  for s, bound in zip(sums, values["bounds"])]
        if max(excess) <= 0:
            need(seen == len(masks), "values: the end")
            return left
        worst = sums[excess.index(max(excess))]
        bits = [i for i in range(64) if left >> i & 1]
        need(masks[seen:seen + len(bits)] == [left & ~(1 << i) for i in bits], "values: a stage")
        at = min(range(seen, seen + len(bits)), key=lambda j: (worst[j], -j))
        left, seen = masks[at], seen + len(bits)
