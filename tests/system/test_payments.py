"""Holds, chains, balancing, corrections, closing and balances at an instant, as people use them
through the SDK, on the real server with the evidence checked afterwards."""

import pytest

import checks
from cooperative import World
from rochdale import errors, money, protos
from standalone import Server

led = protos.ledger


@pytest.fixture(scope="module")
def world(module_dir):
    with Server(module_dir / "data") as server:
        world = World(server, seed=9).found()
        yield world
        world.close()


@pytest.fixture
def purse(world):
    """A new account of the first member with 1,000 micro-tokens, and a new one of the second."""
    payer, payee = world.members[0], world.members[1]
    mine = world.principal(payer).money.open_account("purse").account_id
    theirs = world.principal(payee).money.open_account("till").account_id
    world.founder.money.transfer(world.source_account(), mine, 1_000)
    return world.principal(payer).money, world.principal(payee).money, mine, theirs


def refused(act, *arguments, **options) -> str:
    with pytest.raises(errors.TransferRefused) as raised:
        act(*arguments, **options)
    return raised.value.reason


def test_a_hold_is_posted_in_part_and_frees_the_rest(world, purse):
    me, them, mine, theirs = purse
    held = me.hold(mine, theirs, 700, seconds=600, reference="deposit")
    assert (held.amount_micro, held.debit_balance_micro) == (700, 1_000)
    assert me.account(mine).held_micro == 700
    assert refused(me.transfer, mine, theirs, 301) == "INSUFFICIENT_FUNDS"
    (open_hold,) = me.holds(mine)
    assert open_hold.transfer.reference == "deposit"
    assert refused(them.post_hold, held.transfer_id) == "NOT_AUTHORISED"
    assert refused(me.post_hold, held.transfer_id, 701) == "PENDING_AMOUNT_EXCEEDED"
    posted = me.post_hold(held.transfer_id, 450)
    assert (posted.debit_balance_micro, posted.credit_balance_micro) == (550, 450)
    assert refused(me.void_hold, held.transfer_id) == "PENDING_ALREADY_POSTED"
    found = me.get_hold(held.transfer_id)
    assert (found.state, found.posted_micro) == (led.HOLD_STATE_POSTED, 450)
    assert me.account(mine).held_micro == 0 and not me.holds(mine)
    checks.check_money(world)


def test_who_would_receive_may_let_go(world, purse):
    me, them, mine, theirs = purse
    held = me.hold(mine, theirs, 1_000, seconds=600)
    them.void_hold(held.transfer_id)
    assert me.transfer(mine, theirs, 1_000).debit_balance_micro == 0


def test_a_chain_is_posted_as_a_whole_or_not_at_all(world, purse):
    me, _, mine, theirs = purse
    other = world.members[2].account_id
    before = me.account(other).balance_micro
    assert refused(me.linked, [money.transfer(mine, theirs, 600),
                               money.transfer(mine, other, 600)]) == "INSUFFICIENT_FUNDS"
    assert me.account(mine).balance_micro == 1_000
    chain = [money.transfer(mine, theirs, 600), money.transfer(mine, other, 400)]
    first = me.linked(chain)
    assert [money.word(o) for o in first] == ["POSTED", "POSTED"]
    assert [money.word(o) for o in me.linked(chain)] == ["EXISTS", "EXISTS"]
    assert me.account(other).balance_micro == before + 400


def test_balancing_moves_what_is_there(world, purse):
    me, _, mine, theirs = purse
    moved = me.transfer(mine, theirs, 5_000, balancing=True)
    assert moved.amount_micro == 1_000
    again = me.transfer(mine, theirs, 5_000, balancing=True, transfer_id=moved.transfer_id)
    assert (money.word(again), again.amount_micro) == ("EXISTS", 1_000)
    assert me.get_transfer(moved.transfer_id).requested_micro == 5_000
    assert refused(me.transfer, mine, theirs, 1, balancing=True) == "INSUFFICIENT_FUNDS"


def test_a_payment_is_given_back_once(world, purse):
    me, them, mine, theirs = purse
    paid = me.transfer(mine, theirs, 900)
    them.correct(paid.transfer_id, 400)
    assert refused(them.correct, paid.transfer_id, 501) == "CORRECTION_EXCEEDS"
    rest = them.correct(paid.transfer_id, 500)
    assert rest.credit_balance_micro == 1_000
    assert refused(me.correct, rest.transfer_id) == "CORRECTION_NOT_ALLOWED"
    assert them.get_transfer(rest.transfer_id).corrects == paid.transfer_id


def test_balances_at_an_instant(world, purse):
    me, _, mine, theirs = purse
    first = me.get_transfer(me.transfer(mine, theirs, 100).transfer_id).posted_time_us
    last = me.get_transfer(me.transfer(mine, theirs, 200).transfer_id).posted_time_us
    assert me.balance(mine, first).balance.balance_micro == 900
    assert me.balance(mine).balance.balance_micro == 700
    period = me.balance(mine, last, first)
    assert (period.period_debits_micro, period.period_transfer_count) == (200, 1)
    assert [t.amount_micro for t in me.history(mine)] == [200, 100, 1_000]


def test_an_account_is_closed_when_nothing_is_in_it(world, purse):
    me, them, mine, theirs = purse
    me.close_account(mine, closing=True)
    assert refused(world.founder.money.transfer, world.source_account(), mine, 1) == (
        "CREDIT_ACCOUNT_NOT_OPEN")
    with pytest.raises(errors.FailedPrecondition) as raised:
        me.close_account(mine)
    assert raised.value.reason == "ACCOUNT_TRANSITION_INVALID"
    me.transfer(mine, theirs, 1_000)
    assert me.close_account(mine).status == led.ACCOUNT_STATUS_CLOSED
    with pytest.raises(errors.PermissionDenied):
        me.close_account(theirs, closing=True)
    checks.check_all(world)
