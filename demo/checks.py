"""What the demo promises, held against what came out."""

import dataclasses

ACCURACY_MIN = 0.82
ACCURACY_ROUNDS = 8        # from so many rounds on
FLIPPER_SHARE_MAX = 0.03
ADMITTED_MIN = 0.90
APPLIED_MIN = 0.65
WALL_SECONDS_MAX = 300


@dataclasses.dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    figure: str
    target: str


def tokens(micro: int) -> str:
    return f"{micro / 1e6:,.6f}"


def _of_role(result, role: str) -> list:
    return [m for m in result.members if m.role == role]


def _money(result) -> list:
    revenue, paid = result.revenue_microtokens, result.payments_microtokens
    balances = sum(m.balance_microtokens for m in result.members)
    statements = sum(m.has_statement for m in result.members)
    exact = paid == revenue == balances and all(
        m.payment_microtokens == m.balance_microtokens for m in result.members)
    found = [
        Check("payments sum to the revenue, to the micro-token", exact and revenue > 0,
              f"{tokens(paid)} paid, {tokens(balances)} on accounts", f"{tokens(revenue)} tokens"),
        Check("everyone has a statement", statements == len(result.members),
              f"{statements} of {len(result.members)}", "all"),
    ]
    for role in ("value-breaking", "copier"):
        for member in _of_role(result, role):
            found.append(Check(
                f"{member.name} ({role}) earns nothing",
                member.payment_microtokens == member.credit_nanonats == 0,
                f"{tokens(member.payment_microtokens)} tokens, credit {member.credit_nanonats}",
                "exactly 0"))
    for member in _of_role(result, "label-flipper"):
        share = member.payment_microtokens / revenue if revenue else 0.0
        found.append(Check(f"{member.name} (label-flipper) earns next to nothing",
                           share <= FLIPPER_SHARE_MAX, f"{share:.2%} of revenue",
                           f"at most {FLIPPER_SHARE_MAX:.0%}"))
    honest = _of_role(result, "honest")
    least = min((m.payment_microtokens for m in honest), default=0)
    found.append(Check("every honest member is paid", least > 0,
                       f"the least is {tokens(least)} tokens", "more than 0"))
    return found


def _filter(result) -> list:
    updates = [u for m in _of_role(result, "honest") for u in m.updates]
    admitted = sum(u.verdict in ("admitted", "projected") for u in updates)
    applied = sum(u.applied for u in updates)
    parts = [n / len(updates) if updates else 0.0 for n in (admitted, applied)]
    return [
        Check("honest updates are admitted", parts[0] >= ADMITTED_MIN,
              f"{admitted} of {len(updates)} ({parts[0]:.0%})", f"at least {ADMITTED_MIN:.0%}"),
        Check("honest updates are applied", parts[1] >= APPLIED_MIN,
              f"{applied} of {len(updates)} ({parts[1]:.0%})", f"at least {APPLIED_MIN:.0%}"),
    ]


def _learning(result) -> list:
    closed = sum(r.closed for r in result.rounds)
    # Who was away past a round's deadline has lost that round: it is abandoned, as it should be.
    target = "all" if not result.resumed else f"all but {result.resumed}, lost to interruptions"
    found = [Check("every round closed with a checkpoint",
                   closed >= result.settings.rounds - result.resumed,
                   f"{closed} of {result.settings.rounds}", target)]
    accuracy = result.rounds[-1].test_accuracy if result.rounds else 0.0
    if result.settings.rounds >= ACCURACY_ROUNDS:
        found.append(Check("the shared model has learned", accuracy >= ACCURACY_MIN,
                           f"{accuracy:.1%} of the test images", f"at least {ACCURACY_MIN:.0%}"))
    return found


def _proofs(result) -> list:
    found = [Check(v.name, v.ok, v.detail, v.target) for v in result.verification]
    found.append(Check("receipts verify under the log's key",
                       0 < result.receipts == result.receipts_verified,
                       f"{result.receipts_verified} of {result.receipts}", "all"))
    return found


def evaluate(result) -> list:
    """Every promise with its figure."""
    return [*_money(result), *_filter(result), *_learning(result), *_proofs(result),
            Check("the run takes at most five minutes", result.wall_seconds <= WALL_SECONDS_MAX,
                  f"{result.wall_seconds:.0f} s", f"at most {WALL_SECONDS_MAX} s")]
