"""Makes the demo and the SDK importable, and gives tests a made-up result."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
for folder in (ROOT / "sdk" / "python", ROOT):
    sys.path.insert(0, str(folder))
subprocess.run([ROOT / "scripts" / "generate-sdk", "--if-stale"], check=True)

from demo import checks, evidence, results, settings  # noqa: E402


def made_up_updates(role: str, rounds: int) -> list:
    updates = []
    for number in range(1, rounds + 1):
        update = results.UpdateResult(number, str(uuid.UUID(int=number)), "admitted")
        if role == "copier":
            update.verdict, update.reason = "refused", "NOT_ORIGINAL"
            update.findings = ["DENY originality (rule own-work, floor): measured 0.981, bound 0.6"]
        elif role == "value-breaking":
            update.verdict, update.reason = "refused", "VALUE_EFFECT"
            update.findings = ["DENY value effect (rule bags-stay-bags, your own profile): "
                               "measured 57123456, bound 10000000"]
        elif role == "label-flipper":
            update.reason = "HARMFUL"
        elif number == 7:
            update.reason = "HARMFUL"
        else:
            update.verdict = "projected" if number == 3 else "admitted"
            update.applied, update.credit_nanonats = True, 40_000_000 // number
        updates.append(update)
    return updates


def made_up_result(rounds: int = 8):
    chosen = settings.Settings(rounds=rounds)
    members = []
    for member in chosen.members:
        updates = made_up_updates(member.role, rounds)
        members.append(results.MemberResult(
            name=member.name, role=member.role, principal_id=str(uuid.UUID(int=member.index + 1)),
            rows=6_000 if member.has_shard else 0, updates=updates, has_statement=True,
            class_counts=[(member.index * 7 + c * 131) % 1200 for c in range(10)]
            if member.has_shard else [], credit_nanonats=sum(u.credit_nanonats for u in updates)))
    paid = [m for m in members if m.role == "honest"]
    for m in paid:
        m.payment_microtokens = m.balance_microtokens = 1_000_000_000 // len(paid)
    result = results.Result(
        settings=chosen, members=members, first_accuracy=0.0912, revenue_microtokens=10**9,
        rounds=[results.RoundResult(n, "submission", f"{n:064x}", 2.2 / (n + 1) + 0.3,
                                    0.85 - 0.5 / (n + 1) ** 1.5) for n in range(1, rounds + 1)],
        receipts=8, receipts_verified=8, bundle="evidence", bundle_summary="evidence: 300 files",
        tampered="bit 3 of byte 17 of log/checkpoint", log_key="rochdale.local/log+1+AAA",
        chain_summary=["transfer: 200 tokens", "  statement", "    credit"],
        chain_text="transfer", wall_seconds=173.2,
        verification=[evidence.Verified("rochdale-verify accepts the bundle", True, "ok", "0",
                                        "all good")])
    result.checks = checks.evaluate(result)
    return result


@pytest.fixture
def result():
    return made_up_result()
