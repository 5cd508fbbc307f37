"""Checks, report.json and the HTML report, from made-up figures."""

import json
import re
import xml.etree.ElementTree as xml

import pytest

from demo import checks, plots, report, results


def failed(result) -> list:
    return [c.name for c in checks.evaluate(result) if not c.ok]


def member(result, role):
    return next(m for m in result.members if m.role == role)


def test_good_figures_pass_every_check(result):
    assert failed(result) == []


@pytest.mark.parametrize("role, name", [("value-breaking", "Viktor (value-breaking) earns nothing"),
                                        ("copier", "Kuno (copier) earns nothing")])
def test_one_micro_token_for_who_is_refused_fails(result, role, name):
    member(result, role).payment_microtokens = 1
    assert name in failed(result)


def test_credit_without_payment_fails_too(result):
    member(result, "copier").credit_nanonats = 1
    assert failed(result) == ["Kuno (copier) earns nothing"]


@pytest.mark.parametrize("payment, ok", [(30_000_000, True), (30_000_001, False)])
def test_flipper_may_have_three_per_cent(result, payment, ok):
    flipper, honest = member(result, "label-flipper"), member(result, "honest")
    for m, change in ((flipper, payment), (honest, -payment)):
        m.payment_microtokens += change
        m.balance_microtokens += change
    assert (failed(result) == []) is ok


def test_payments_must_sum_exactly_and_be_on_the_accounts(result):
    member(result, "honest").payment_microtokens -= 1
    assert "payments sum to the revenue, to the micro-token" in failed(result)
    member(result, "honest").payment_microtokens += 1
    member(result, "honest").balance_microtokens -= 1
    assert "payments sum to the revenue, to the micro-token" in failed(result)


def test_nothing_paid_of_nothing_is_no_success(result):
    result.revenue_microtokens = 0
    for m in result.members:
        m.payment_microtokens = m.balance_microtokens = 0
    assert {"payments sum to the revenue, to the micro-token",
            "every honest member is paid"} <= set(failed(result))


@pytest.mark.parametrize("change, name", [
    (lambda r: setattr(r.rounds[-1], "test_accuracy", 0.819), "the shared model has learned"),
    (lambda r: setattr(r.rounds[2], "closed", False), "every round closed with a checkpoint"),
    (lambda r: setattr(r, "receipts_verified", 7), "receipts verify under the log's key"),
    (lambda r: setattr(r, "wall_seconds", 301), "the run takes at most five minutes"),
    (lambda r: setattr(r.members[0], "has_statement", False), "everyone has a statement"),
])
def test_every_promise_can_be_broken(result, change, name):
    change(result)
    assert failed(result) == [name]


def test_honest_admissions_and_applications_are_counted(result):
    honest = [u for m in result.members if m.role == "honest" for u in m.updates]
    for update in honest[:4]:
        update.verdict, update.applied = "refused", False
    assert "honest updates are admitted" not in failed(result)
    honest[4].verdict = "refused"
    assert "honest updates are admitted" in failed(result)
    for update in honest:
        update.applied = False
    assert "honest updates are applied" in failed(result)


def test_an_interruption_may_cost_one_round(result):
    result.rounds[2].closed, result.resumed = False, 1
    assert failed(result) == []
    result.rounds[3].closed = False
    assert failed(result) == ["every round closed with a checkpoint"]


def test_few_rounds_promise_no_accuracy(result):
    import dataclasses
    result.settings = dataclasses.replace(result.settings, rounds=2)
    result.rounds = result.rounds[:2]
    assert failed(result) == []


def test_report_json_has_the_keys_that_programs_read(result, tmp_path):
    path = tmp_path / "report.json"
    results.write_report_json(result, path)
    found = json.loads(path.read_text())
    assert found["seed"] == 1 and found["wall_seconds"] == 173.2
    assert found["revenue_microtokens"] == found["payments_sum_microtokens"] == 10**9
    assert [r["number"] for r in found["rounds"]] == list(range(1, 9))
    assert set(found["rounds"][0]) == {"number", "kind", "checkpoint", "validation_loss",
                                       "test_accuracy"}
    assert len(found["agents"]) == 8
    for agent in found["agents"]:
        assert agent["admitted"] + agent["projected"] + len(agent["refused"]) == agent["submitted"]
    copier = next(a for a in found["agents"] if a["role"] == "copier")
    assert [r["reason"] for r in copier["refused"]] == ["NOT_ORIGINAL"] * 8
    assert copier["applied"] == copier["payment_microtokens"] == copier["credit_nanonats"] == 0
    assert found["evidence_bundle"] == "evidence" and found["verification"]["ok"] is True


def test_verification_is_not_ok_without_any(result):
    result.verification = []
    assert results.report_json(result)["verification"]["ok"] is False


@pytest.mark.parametrize("kind, measured, bound, words", [
    ("VALUE_EFFECT", "12262077", "10000000", "measured 0.0123 nats, bound 0.0100 nats"),
    ("ORIGINALITY", "996298", "600000", "measured 0.996, bound 0.600"),
    ("INTEGRITY", "3 tensors", "", "measured 3 tensors"),
    ("AUTHORITY", "", "", "of the member's own values"),
])
def test_findings_are_in_words_and_readable_units(kind, measured, bound, words):
    from rochdale import protos
    finding = protos.filter.RuleFinding(rule_id="r", scope="RULE_SCOPE_PRINCIPAL",
                                        kind="RULE_KIND_" + kind, measured=measured,
                                        threshold=bound)
    text = results.finding_text(finding)
    assert text.startswith(kind.lower().replace("_", " ") + " by rule r") and text.endswith(words)


def test_html_is_whole_and_needs_no_network(result, tmp_path):
    path = tmp_path / "report.html"
    report.write(result, path)
    text = path.read_text()
    assert not re.search(r'(src|href)\s*=|url\(|@import|<script|https?://', text)
    assert all(m.name in text for m in result.members)
    assert "NOT_ORIGINAL" in text and "1,000.000000" in text
    drawings = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawings) >= 6
    for drawing in drawings:
        assert "nan" not in xml.tostring(xml.fromstring(drawing)).decode().lower()


def test_html_shows_nothing_as_markup(result):
    result.members[0].name = "<script>alert(1)</script>"
    result.chain_summary = ["<img src=x>"]
    text = report.render(result)
    assert "<script" not in text and "<img" not in text


def test_html_of_a_run_in_which_nothing_was_earned(result):
    result.revenue_microtokens = 0
    for m in result.members:
        m.updates, m.payment_microtokens, m.credit_nanonats = [], 0, 0
    for r in result.rounds:
        r.validation_loss = None
    assert "No figures." in report.render(result)


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (0.31, 1.4), (0.5, 0.5), (1e-7, 3e-7), (0, 900)])
def test_ticks_span_the_values(low, high):
    levels = plots.ticks(low, high)
    assert levels[0] <= low + 1e-12 and levels[-1] >= high - 1e-12
    assert 2 <= len(levels) <= 12
    step = levels[1] - levels[0]
    assert all(b - a == pytest.approx(step) for a, b in zip(levels, levels[1:]))
