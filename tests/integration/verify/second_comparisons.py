"""The second verifier's A/B tests (section 6.9 of docs/evidence.md)."""

import math

from second_basics import need, sha, uuid_raw, uuid_text
from second_rounds import standard_error

VERDICTS = ["", "a_better", "b_better", "equal", "undecided"]


def looks(rule, visible):
    """Rows of every look that there can be."""
    most = min(rule["rows_max"], visible)
    rows = [min(rule["rows_min"], most)]
    while rows[-1] < most and len(rows) < 20:
        rows.append(min(2 * rows[-1], most))
    return rows


def stopping_z(error_micro, count):
    """The smallest z, in hundredths, with 2 (1 - Phi(z / 100)) count <= error; at most 1,000."""
    z = 0
    while z < 1000 and math.erfc(z / 100 / math.sqrt(2)) * count * 1e6 > error_micro:
        z += 1
    return z


def take_look(rule, z, differences, last):
    """(verdict, mean, standard error) of the differences L_b - L_a."""
    rows, total = len(differences), sum(differences)
    error = standard_error(differences, 1)
    width = z * error * rows
    verdict = 0
    if 100 * total - width > 0:
        verdict = 1
    elif 100 * total + width < 0:
        verdict = 2
    elif 100 * abs(total) + width <= 100 * rule["margin_nanonats"] * rows:
        verdict = 3
    elif last:
        verdict = 4
    return verdict, total // rows, error


def check_evidence(evidence, started, ended, log):
    seed = bytes.fromhex(evidence["seed"])
    need(sha(seed).hex() == evidence["seed_sha256"] == started.fields[60].hex(), "the seed")
    need(evidence["a_sha256"] == started.fields[58].hex()
         and evidence["b_sha256"] == started.fields[57].hex(), "the checkpoints")
    commitment = sha(b"ROCHDALEcommit1" + bytes.fromhex(evidence["split_seed"])
                     + bytes.fromhex(evidence["pool_sha256"]))
    need(any(e.fields.get(55) == commitment and e.fields[82] == evidence["pool_rows"]
             for e in log.kind(302)), "the pool's commitment")
    a, b = evidence["losses_a"], evidence["losses_b"]
    need(len(a) == len(b), "as many losses of A as of B")
    differences = [after - before for before, after in zip(a, b)]
    rule = evidence["rule"]
    plan = looks(rule, evidence["visible_rows"])
    z = stopping_z(rule["error_micro"], len(plan))
    for rows in plan:
        need(rows <= len(differences), "it ended before its rule does")
        verdict, mean, error = take_look(rule, z, differences[:rows], rows == plan[-1])
        if verdict:
            break
    need((VERDICTS[verdict], rows, mean, error)
         == (evidence["verdict"], len(differences), evidence["difference_nanonats"],
             evidence["standard_error_nanonats"]), "the look that ends it")
    need((verdict, rows, mean, error) == (ended.fields[40], ended.fields[82],
                                          ended.fields[86], ended.fields[87]),
         "COMPARISON_ENDED")


def check_comparisons(bundle, log):
    count = 0
    for ended in log.kind(314):
        started = log.only(313, ended.subject)
        need(sha(ended.fields[61]) == started.fields[60], "the seed of an A/B test")
        path = f"comparisons/{uuid_text(ended.subject)}.json"
        need((ended.fields[40] == 0) == (50 not in ended.fields), path)
        if path not in bundle.files:
            continue
        need(sha(bundle.read(path)) == ended.fields[50], path)
        evidence = bundle.json(path)
        need(uuid_raw(evidence["comparison_id"]) == ended.subject, path)
        check_evidence(evidence, started, ended, log)
        count += 1
    return count
