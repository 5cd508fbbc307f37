"""Epochs, and much at once: money is neither made nor lost, whatever comes together."""

import collections
import concurrent.futures
import time

import pytest

import checks
from cooperative import ABANDONED, World
from rochdale import admin, documents, errors, protos, rounds
from rochdale.keys import KeyPair
from standalone import Server

gov, pay = protos.governance, protos.payout
THREADS = 12
STALE_SECONDS = 2.2  # services look at parameters again after 2 s


@pytest.fixture(scope="module")
def world(module_dir):
    with Server(module_dir / "data") as server:
        world = World(server, seed=5).found()
        yield world
        world.close()


def at_once(count: int, act) -> list:
    """What `count` calls of act(index) at the same time return or raise."""
    def run(index):
        try:
            return act(index)
        except errors.RochdaleError as error:
            return error
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_pool_without_credits_carries_over(world):
    """Nobody commits in round 1: it is abandoned, nobody earns, and what came in waits."""
    hasty = {"round.open_ms": 300, "round.commit_ms": 100, "round.reveal_ms": 100}
    for name, value in hasty.items():
        world.founder.admin.change_parameter(name, value, "for a round that nobody takes part in")
    time.sleep(STALE_SECONDS)
    world.start_training(1)
    round_ = world.await_state(1, ABANDONED)
    for name in hasty:
        world.founder.admin.change_parameter(name, world.parameters[name], "as it was")
    changed = time.monotonic()
    assert (round_.reason, round_.applied) == ("MIN_UPDATES", 0)
    assert round_.next_sha256 in ("", round_.base_sha256)
    epoch = world.settle(1, 1, 500_000_001)
    assert epoch.state == pay.EPOCH_STATE_CARRIED_OVER
    assert (epoch.credit_sum_nanonats, epoch.paid_microtokens) == (0, 0)
    assert world.balance(world.pool().account_id) == 500_000_001
    checks.check_all(world)
    time.sleep(max(0.0, changed + STALE_SECONDS - time.monotonic()))


def test_what_was_carried_over_is_paid_with_the_next_epoch(world):
    world.start_training(2)
    world.play(3)
    epoch = world.settle(2, 3, 499_999_998)
    checks.check_epoch(world, epoch)
    assert epoch.revenue_microtokens == 999_999_999
    assert sum(world.earned(m) for m in world.members) == 999_999_999
    checks.check_all(world)


def test_one_request_from_many_threads_is_one(world):
    member, key = world.members[0], KeyPair.generate()
    agent = admin.new_id()
    proof = key.sign(f"rochdale-agent:{agent}:{member.principal_id}".encode())
    request = gov.RegisterAgentRequest(
        request_id=admin.new_id(), registration=documents.sign(member.key, gov.AgentRegistration(
            agent_id=agent, principal_id=member.principal_id, public_key=key.public_hex,
            proof_of_possession=proof.hex(), display_name="One",
            signed_time_us=documents.now_us())))
    transport = world.principal(member).transport
    answers = at_once(THREADS, lambda _: transport.call("governance", "RegisterAgent", request))
    assert all(answer == answers[0] for answer in answers), answers
    assert logged(world, "AGENT_REGISTERED", agent) == 1


def logged(world, kind: str, subject: str) -> int:
    """Entries of this kind about a subject, once none is on its way any more."""
    count, since = 0, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = sum((e.kind, e.subject) == (kind, subject) for e in checks.log(world.founder))
        if now != count:
            count, since = now, time.monotonic()
        time.sleep(0.05)
    return count


def test_one_account_cannot_be_spent_twice(world):
    """Many transfers at once, each of a third of what is there: three are posted."""
    payer, payee = world.members[0], world.members[1]
    purse = payer.account_id
    world.founder.admin.transfer(world.source_account(), purse, 3_000)
    results = at_once(THREADS, lambda _: world.principal(payer).admin.transfer(
        purse, payee.account_id, 1_000))
    words = collections.Counter(getattr(r, "reason", "POSTED") for r in results)
    assert words == {"POSTED": 3, "INSUFFICIENT_FUNDS": THREADS - 3}
    assert (world.balance(purse), world.balance(payee.account_id)) == (0, 3_000)
    checks.check_money(world)


def test_one_transfer_from_many_threads_is_one(world):
    source, payee = world.source_account(), world.members[2].account_id
    transfer_id = admin.new_id()
    results = at_once(THREADS, lambda _: world.founder.admin.transfer(
        source, payee, 77, transfer_id=transfer_id))
    words = collections.Counter(protos.ledger.TransferResult.Name(r.result) for r in results)
    assert words == {"TRANSFER_RESULT_POSTED": 1, "TRANSFER_RESULT_EXISTS": THREADS - 1}
    assert world.balance(payee) == 77
    with pytest.raises(errors.TransferRefused) as raised:
        world.founder.admin.transfer(source, payee, 78, transfer_id=transfer_id)
    assert raised.value.reason == "EXISTS_DIFFERENT"


def test_a_member_sends_what_its_level_allows(world):
    """Level 1: 100 tokens a day; what a verifier attests counts once attest_kyc returns."""
    payer, payee = world.members[3], world.members[4]
    world.founder.admin.transfer(world.source_account(), payer.account_id, 200_000_000)

    def send(amount):
        try:
            world.principal(payer).admin.transfer(payer.account_id, payee.account_id, amount)
            return "POSTED"
        except errors.TransferRefused as refusal:
            return refusal.reason

    assert send(100_000_001) == "LIMIT_EXCEEDED"
    assert send(100_000_000) == "POSTED"
    assert send(1) == "LIMIT_EXCEEDED"
    world.attest(payer.principal_id, 2)
    assert send(1) == "POSTED"
    world.attest(payer.principal_id, 0)
    assert send(1) == "KYC_LEVEL_TOO_LOW"
    world.attest(payer.principal_id, 1)
    checks.check_money(world)


def test_members_commit_and_reveal_at_once(world):
    number = world.start_training(1).number
    round_ = world.await_state(number, rounds.OPEN)
    for client in (world.agent(m) for m in world.members):  # connected before it starts
        client.cooperative()
    ids = at_once(len(world.members), lambda i: world.commit(world.members[i], round_))
    assert len(set(ids)) == len(world.members) and all(isinstance(i, str) for i in ids), ids
    world.await_state(number, rounds.REVEAL)
    done = at_once(len(world.members), lambda i: world.reveal(world.members[i], round_))
    assert done == [None] * len(done)
    numbers = sorted(u.commitment_number for u in world.updates(round_))
    assert numbers == list(range(1, len(world.members) + 1))
    assert world.play(number).state == rounds.CLOSED
    checks.check_all(world)


def test_revenue_that_comes_while_an_epoch_closes_is_in_exactly_one(world):
    """Transfers go on while the epoch closes: each is in R, or stays in the pool for the next."""
    account, number = world.pool().account_id, world.rounds()[-1].number
    source = world.source_account()
    world.earn(1, "the first of the epoch")  # an empty pool is not closed
    before = world.balance(account)

    def act(index):
        if index == THREADS // 2:
            return world.founder.admin.close_epoch(world.pool_id, 4, number)
        return world.founder.admin.transfer(source, account, 1_000_003, kind="REVENUE")

    results = at_once(THREADS, act)
    epoch = next(r for r in results if isinstance(r, pay.Epoch))
    sent = before + 1_000_003 * (THREADS - 1)
    assert not [r for r in results if isinstance(r, Exception)], results
    assert epoch.revenue_microtokens + world.balance(account) == sent
    if epoch.state == pay.EPOCH_STATE_SETTLED:
        checks.check_epoch(world, epoch)
    checks.check_all(world)
