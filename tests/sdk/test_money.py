"""Money: exact amounts, what is signed and sent, refusals, the commands. Against a fake ledger that
answers what the test says; the real one's rules are tested in tests/system."""

import decimal
import json

import pytest

from rochdale import cli, documents, errors, money, protos

led = protos.ledger
A, B, C = ("01890000-0000-7000-8000-00000000000" + c for c in "abc")


@pytest.fixture
def ledger(fake):
    """The fake with a ledger whose results are `results`, POSTED where it is empty."""
    fake.results = []

    def outcomes(transfers):
        return [led.TransferOutcome(
            transfer_id=t.transfer_id, amount_micro=t.amount_micro, log_index=7,
            result="TRANSFER_RESULT_" + (fake.results.pop(0) if fake.results else "POSTED"))
            for t in transfers]

    def get_principal(request, context):
        return protos.governance.GetPrincipalResponse(principal=protos.governance.Principal(
            principal_id=fake.principal_id, entry=protos.common.EntryRef(event_id=A)))

    def post(request, context):
        assert documents.is_valid(request.order) and not request.transfers
        return led.PostTransfersResponse(
            outcomes=outcomes(documents.decode(request.order).transfers))

    def convert(request, context):
        order = documents.decode(request.order)
        return led.ConvertResponse(outcomes=outcomes(
            [led.Transfer(transfer_id=A, amount_micro=order.amount_micro),
             led.Transfer(transfer_id=B, amount_micro=order.receive_min_micro)]))

    handlers = {
        "GetPrincipal": get_principal,
        "GetEntry": lambda request, context: led.GetEntryResponse(),
        "PostTransfers": post,
        "Convert": convert,
        "ChangeAccount": lambda request, context: led.ChangeAccountResponse(account=led.Account(
            account_id=documents.decode(request.order).account_id,
            status=documents.decode(request.order).status)),
        "GetTransfer": lambda request, context: led.GetTransferResponse(transfer=led.Transfer(
            transfer_id=request.transfer_id, debit_account_id=A, credit_account_id=B,
            amount_micro=900)),
        "GetBalance": lambda request, context: led.GetBalanceResponse(
            balance=led.Balance(balance_micro=request.at_time_us), period_transfer_count=3),
        "GetAccount": lambda request, context: led.GetAccountResponse(account=led.Account(
            account_id=request.account_id, asset="token", status="ACCOUNT_STATUS_OPEN")),
        "ListHolds": lambda request, context: led.ListHoldsResponse(holds=[
            led.Hold(transfer=led.Transfer(transfer_id=C, amount_micro=5, credit_account_id=B,
                                           expires_time_us=1_700_000_000_000_000),
                     state="HOLD_STATE_OPEN")]),
    }
    fake.serve_more(handlers)
    return fake


@pytest.fixture
def me(ledger, agent):
    return agent.money


def orders(ledger):
    return [documents.decode(r.order) for r in ledger.requests["PostTransfers"]]


@pytest.mark.parametrize("text, expected", [
    ("1", 1_000_000), ("0.000001", 1), ("1.5", 1_500_000), (3, 3_000_000),
    (decimal.Decimal("2.25"), 2_250_000), ("9223372036854.775807", 2**63 - 1)])
def test_amounts_are_exact(text, expected):
    assert money.micro(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "0.0000001", "1.2.3", "", "NaN", "Infinity", "1e20",
                                  "9223372036854.775808", 1.5, None])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError):
        money.micro(text)


def test_amounts_for_people():
    assert [money.units(n) for n in (1_500_000, 0, -1, -2_000_000)] == [
        "1.500000", "0.000000", "-0.000001", "-2.000000"]


def test_a_hold_and_what_ends_it(ledger, me):
    held = me.hold(A, B, 500, seconds=60, reference="seat")
    me.post_hold(held.transfer_id, 200)
    me.void_hold(held.transfer_id)
    (hold,), (posted,), (voided,) = (o.transfers for o in orders(ledger))
    assert (hold.phase, hold.timeout_s, hold.amount_micro) == (led.TRANSFER_PHASE_PENDING, 60, 500)
    assert hold.reference == "seat" and hold.transfer_id == held.transfer_id
    assert (posted.phase, posted.amount_micro) == (led.TRANSFER_PHASE_POST, 200)
    assert (voided.phase, voided.amount_micro) == (led.TRANSFER_PHASE_VOID, 0)
    assert posted.pending_id == voided.pending_id == hold.transfer_id
    assert len({hold.transfer_id, posted.transfer_id, voided.transfer_id}) == 3
    # What the hold says is left to it.
    assert not posted.debit_account_id and not voided.kind


def test_linked_transfers_are_one_chain(ledger, me):
    given = [money.transfer(A, B, 1), money.transfer(A, C, 2), money.transfer(B, C, 3)]
    me.linked(given)
    assert [t.linked for t in orders(ledger)[0].transfers] == [True, True, False]
    assert not any(t.linked for t in given)  # what the caller made stays as it is
    ledger.results = ["LINKED_FAILED", "INSUFFICIENT_FUNDS", "LINKED_FAILED"]
    with pytest.raises(errors.TransferRefused) as raised:
        me.linked(given)
    assert raised.value.reason == "INSUFFICIENT_FUNDS"


def test_submit_tells_and_require_raises(ledger, me):
    ledger.results = ["POSTED", "EXISTS", "ID_ALREADY_FAILED"]
    outcomes = me.submit([money.transfer(A, B, n) for n in (1, 2, 3)])
    assert [money.word(o) for o in outcomes] == ["POSTED", "EXISTS", "ID_ALREADY_FAILED"]
    assert money.require(outcomes[:2]) == outcomes[:2]
    with pytest.raises(errors.TransferRefused, match="id already failed"):
        money.require(outcomes)


def test_a_correction_goes_the_other_way_round(ledger, me):
    me.correct(C)
    me.correct(C, 100)
    whole, part = (o.transfers[0] for o in orders(ledger))
    assert (whole.debit_account_id, whole.credit_account_id) == (B, A)
    assert (whole.amount_micro, part.amount_micro) == (900, 100)
    assert whole.corrects == part.corrects == C
    assert whole.kind == led.TRANSFER_KIND_REFUND


def test_an_account_is_closed_by_its_owners_signature(ledger, me):
    assert me.close_account(A).status == led.ACCOUNT_STATUS_CLOSED
    assert me.close_account(A, closing=True).status == led.ACCOUNT_STATUS_CLOSING
    request = ledger.requests["ChangeAccount"][0]
    assert documents.is_valid(request.order) and not request.account_id


def test_conversion_names_what_must_come(ledger, me):
    given, received = me.convert(A, B, 10, 7, conversion_id=C)
    assert (given.amount_micro, received.amount_micro) == (10, 7)
    order = documents.decode(ledger.requests["Convert"][0].order)
    assert (order.conversion_id, order.receive_min_micro) == (C, 7)
    assert order.signed_time_us


def test_admin_and_money_post_the_same(ledger, agent):
    agent.admin.transfer(A, B, 5, kind="FEE", transfer_id=C)
    transfer = orders(ledger)[0].transfers[0]
    assert (transfer.transfer_id, transfer.kind) == (C, led.TRANSFER_KIND_FEE)


def run(ledger, agent, capsys, tmp_path, *words):
    key = tmp_path / "key"
    if not key.exists():
        agent.key.save(key)
    status = cli.main([*words, "--target", ledger.target, "--key", str(key), "--identity",
                       agent.identity])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_the_commands(ledger, agent, capsys, tmp_path):
    def say(*words):
        return run(ledger, agent, capsys, tmp_path, *words)

    assert say("pay", A, B, "1.5", "--at-most", "--transfer-id", C)[0] == 0
    assert say("pay", A, B, "2", "--hold", "60", "--kind", "fee")[0] == 0
    assert say("hold", "post", C, "--amount", "0.25")[0] == 0
    assert say("hold", "void", C)[0] == 0
    assert say("refund", C, "--amount", "0.0001")[0] == 0
    sent = [o.transfers[0] for o in orders(ledger)]
    assert [t.amount_micro for t in sent] == [1_500_000, 2_000_000, 250_000, 0, 100]
    assert sent[0].balancing and sent[0].transfer_id == C
    assert sent[1].timeout_s == 60 and sent[1].kind == led.TRANSFER_KIND_FEE
    status, text = say("hold", "list", A)
    assert status == 0 and C in text and "2023-11-14T22:13:20Z" in text
    status, text = say("account", "show", A, "--at", "1970-01-01T00:00:02Z", "--json")
    assert status == 0
    assert json.loads(text)["balance"]["balance"]["balance_micro"] == "2000000"
    assert say("account", "close", A) == (0, f"{A} is CLOSED\n")
    status, text = say("convert", A, B, "1", "--receive-min", "0.5")
    assert (status, text) == (0, "gave 1.000000, received 0.500000\n")
    ledger.results = ["INSUFFICIENT_FUNDS"]
    status, text = say("pay", A, B, "1")
    assert status == cli.EXIT_ERROR and "insufficient funds" in text
    for bad in (("pay", A, B, "0.0000001"), ("account", "show", A, "--at", "2026-01-01T00:00:00")):
        assert say(*bad)[0] == cli.EXIT_ERROR
