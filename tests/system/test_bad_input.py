"""What is wrong is refused with its documented reason, over the real API, and changes nothing.

Every refusal is made between two looks at what the services show; at the end the log holds exactly
what legitimate steps wrote.
"""

import collections
import time

import grpc
import pytest

import checks
from cooperative import World
from refusals import commit, commitment, refused, refused_transfer, reveal, shown
from rochdale import admin, documents, errors, explain, protos, rounds, tokens
from rochdale.keys import KeyPair
from standalone import Server

flt, gov, led, att = protos.filter, protos.governance, protos.ledger, protos.attribution


@pytest.fixture(scope="module")
def server(module_dir):
    with Server(module_dir / "data") as running:
        yield running


@pytest.fixture(scope="module")
def world(server):
    """Five members in round 1, which is OPEN and stays so: nobody has committed yet."""
    world = World(server, seed=1, parameters={"update.max_bytes": 100_000}).found()
    world.start_training(50)
    world.await_state(1, rounds.OPEN)
    yield world
    world.close()


# ---- Commitments ----


def test_a_stale_checkpoint(world):
    round_, member = world.await_state(1, rounds.OPEN), world.members[0]
    stale = commitment(world, member, round_, base_sha256="00" * 32)
    with refused(world, "STALE_CHECKPOINT"):
        commit(world.agent(member), documents.sign(member.agent_key, stale))


def test_forged_documents(world):
    round_, member, other = world.await_state(1, rounds.OPEN), world.members[0], world.members[1]
    honest = documents.sign(member.agent_key, commitment(world, member, round_))
    flipped = protos.common.SignedDocument.FromString(honest.SerializeToString())
    flipped.signature = bytes([honest.signature[0] ^ 1]) + honest.signature[1:]
    with refused(world, "SIGNATURE_INVALID"):
        commit(world.agent(member), flipped)
    changed = protos.common.SignedDocument.FromString(honest.SerializeToString())
    changed.body = honest.body.replace(b'"100"', b'"101"')
    assert changed.body != honest.body
    with refused(world, "SIGNATURE_INVALID"):
        commit(world.agent(member), changed)
    # Signed well, by somebody else.
    with refused(world, "PERMISSION_DENIED"):
        commit(world.agent(member), documents.sign(
            other.agent_key, commitment(world, member, round_)))
    # Another's document, sent by me.
    with refused(world, "PERMISSION_DENIED"):
        commit(world.agent(other), honest)


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'{"roundId":7}', b'{"surplus":"x"}', b"\xff\xfe", b"{" * 10_000,
    b'{"updateId":"1","updateId":"2"}',
], ids=["empty", "cut off", "a list", "null", "a wrong type", "an unknown field", "not UTF-8",
        "deep", "a key twice"])
def test_documents_that_are_none(world, body):
    world.await_state(1, rounds.OPEN)
    member, name = world.members[0], "rochdale.filter.v1.UpdateCommitment"
    document = protos.common.SignedDocument(
        type=name, body=body, public_key=member.agent_key.public_key,
        signature=member.agent_key.sign(documents.pae(name, body)))
    with refused(world, "DOCUMENT_INVALID", "BAD_REQUEST"):
        commit(world.agent(member), document)


@pytest.mark.parametrize("changes", [
    {"update_id": "not-a-uuid"}, {"update_sha256": "AB" * 32}, {"size_bytes": 0},
    {"size_bytes": -1}, {"sample_count": 0}, {"round_id": ""},
], ids=lambda changes: "-".join(f"{k}={v}"[:24] for k, v in changes.items()))
def test_fields_out_of_bounds_are_named(world, changes):
    round_, member = world.await_state(1, rounds.OPEN), world.members[0]
    document = documents.sign(member.agent_key, commitment(world, member, round_, **changes))
    with refused(world, "BAD_REQUEST", "DOCUMENT_INVALID") as raised:
        commit(world.agent(member), document)
    assert next(iter(changes)) in str(raised.value)


def test_a_document_of_another_type(world):
    member = world.members[0]
    pause = documents.sign(member.agent_key, gov.AgentPause(agent_id=member.agent_id))
    with refused(world, "DOCUMENT_INVALID"):
        commit(world.agent(member), pause)


def test_an_unknown_round(world):
    round_, member = world.await_state(1, rounds.OPEN), world.members[0]
    lost = commitment(world, member, round_, round_id=admin.new_id())
    with refused(world, "NOT_FOUND"):
        commit(world.agent(member), documents.sign(member.agent_key, lost))


# ---- Tokens ----


def call_with(world, token):
    """A call that only agents may make, with this token and past the SDK, which would renew it."""
    channel = grpc.insecure_channel(world.server.target)
    try:
        stub = protos.filter_grpc.FilterServiceStub(channel)
        stub.CommitUpdate(flt.CommitUpdateRequest(request_id=admin.new_id()), timeout=10,
                          metadata=(("authorization", f"Bearer {token}"),))
    except grpc.RpcError as raw:
        raise errors.from_rpc(raw) from None
    finally:
        channel.close()


def test_tokens_that_do_not_hold(world):
    member, now = world.members[0], int(time.time())
    subject = f"agent:{member.agent_id}"
    good = tokens.sign_token(member.agent_key, subject, now)
    head, body, signature = good.split(".")
    with refused(world, "UNAUTHENTICATED"):
        call_with(world, ".".join((head, body, ("B" if signature[0] == "A" else "A")
                                   + signature[1:])))
    with refused(world, "UNAUTHENTICATED"):  # a key that nobody registered
        call_with(world, tokens.sign_token(KeyPair.generate(), subject, now))
    with refused(world, "UNAUTHENTICATED"):  # another's key
        call_with(world, tokens.sign_token(world.members[1].agent_key, subject, now))
    with refused(world, "UNAUTHENTICATED", "TOKEN_EXPIRED"):  # longer than a token may last
        call_with(world, tokens.sign_token(member.agent_key, subject, now, life_seconds=3600))
    with refused(world, "TOKEN_EXPIRED"):
        call_with(world, tokens.sign_token(member.agent_key, subject, now - 3600))
    with refused(world, "TOKEN_EXPIRED"):  # of the future
        call_with(world, tokens.sign_token(member.agent_key, subject, now + 3600))
    for text in ("", "x", "a.b.c", "A" * 6_000, good + "x"):
        with refused(world, "UNAUTHENTICATED"):
            call_with(world, text)
    with refused(world, "BAD_REQUEST", "DOCUMENT_INVALID"):  # this one gets past the door
        call_with(world, good)


# ---- Who may what ----


def test_an_agent_without_a_mandate(world):
    round_, member = world.await_state(1, rounds.OPEN), world.members[0]
    key = KeyPair.generate()
    agent = world.principal(member).admin.register_agent(key, "Without a mandate")
    with world.connect(key, f"agent:{agent.agent_id}") as client:
        document = documents.sign(key, commitment(world, member, round_, agent_id=agent.agent_id))
        with refused(world, "MANDATE_MISSING"):
            commit(client, document)


def test_a_paused_agent(world):
    round_, member = world.await_state(1, rounds.OPEN), world.members[2]
    acts = world.principal(member).admin
    acts.set_agent_pause(member.agent_id, True, "a look first")
    with refused(world, "AGENT_PAUSED"):
        commit(world.agent(member), documents.sign(
            member.agent_key, commitment(world, member, round_)))
    acts.set_agent_pause(member.agent_id, False)


def test_a_revoked_and_an_expired_mandate(world):
    round_, member = world.await_state(1, rounds.OPEN), world.members[0]
    acts, key = world.principal(member).admin, KeyPair.generate()
    agent = acts.register_agent(key, "For a moment")
    acts.grant_mandate(agent.agent_id, seconds=1)
    time.sleep(1.1)
    with world.connect(key, f"agent:{agent.agent_id}") as client:
        document = documents.sign(key, commitment(world, member, round_, agent_id=agent.agent_id))
        with refused(world, "MANDATE_EXPIRED"):
            commit(client, document)
        granted = acts.grant_mandate(agent.agent_id)
        acts.revoke_mandate(granted.mandate.mandate_id)
        with refused(world, "MANDATE_MISSING"):
            commit(client, document)


def test_founders_acts_by_others(world):
    member = world.members[0]
    acts = world.principal(member).admin
    with refused(world, "PERMISSION_DENIED"):
        acts.start_training(1)
    with refused(world, "PERMISSION_DENIED"):
        acts.create_model((16, 8, 4))
    with refused(world, "SIGNATURE_INVALID", "PERMISSION_DENIED"):
        acts.change_parameter("credit.z_gate_micro", 0, "in my favour")
    with refused(world, "PERMISSION_DENIED"):
        acts.close_epoch(world.pool_id, 1, 1, wait=False)
    with refused(world, "PERMISSION_DENIED"):
        acts.register_probe("mine for all", *world.problem.rows(10, 5), of_cooperative=True)


def test_services_rpcs_by_others(world):
    agent, principal = world.agent(world.members[0]), world.principal(world.members[0])
    round_ = world.await_state(1, rounds.OPEN)
    for client in (agent, principal, world.founder):
        with refused(world, "PERMISSION_DENIED"):
            client.transport.call("filter", "SetIntakeState", flt.SetIntakeStateRequest(
                request_id=admin.new_id(), round_id=round_.round_id, state=4))
        with refused(world, "PERMISSION_DENIED"):
            client.transport.call("attribution", "RetireRounds", att.RetireRoundsRequest(
                request_id=admin.new_id(), round_ids=[round_.round_id]))
        with refused(world, "PERMISSION_DENIED"):
            client.transport.call("ledger", "AppendEntries", led.AppendEntriesRequest(
                request_id=admin.new_id(), entries=[b"x"]))
    with world.connect() as nobody, refused(world, "UNAUTHENTICATED"):
        nobody.transport.call("filter", "ListUpdates", flt.ListUpdatesRequest(
            round_id=round_.round_id))


def test_workers_rpcs_by_others(world):
    """Workers alone know the token of a run; nobody else claims a shard or delivers a result."""
    channel = grpc.insecure_channel(world.server.target)
    stub = protos.attribution_grpc.WorkerServiceStub(channel)
    run = {"request_id": admin.new_id(), "run_id": admin.new_id()}
    agent = (("authorization", "Bearer " + tokens.sign_token(
        world.members[0].agent_key, f"agent:{world.members[0].agent_id}", int(time.time()))),)
    made_up = (("authorization", "Bearer " + "A" * 80),)

    def call(method, request, metadata=()):
        try:
            getattr(stub, method)(request, timeout=10, metadata=metadata)
        except grpc.RpcError as raw:
            raise errors.from_rpc(raw) from None

    with refused(world, "UNAUTHENTICATED", "BAD_REQUEST"):
        call("StartSession", att.StartSessionRequest(**run, run_token="made up"))
    for metadata, reasons in (((), ["UNAUTHENTICATED"]), (made_up, ["UNAUTHENTICATED"]),
                              (agent, ["PERMISSION_DENIED"])):
        with refused(world, *reasons):
            call("ClaimShard", att.ClaimShardRequest(**run), metadata)
        with refused(world, *reasons):
            call("CompleteShard", att.CompleteShardRequest(**run, losses=bytes(8)), metadata)
    channel.close()


def test_a_mandate_for_anothers_agent(world):
    with refused(world, "PERMISSION_DENIED"):
        world.principal(world.members[0]).admin.grant_mandate(world.members[1].agent_id)


# ---- Requests ----


def test_a_request_id_with_other_content(world):
    """The same request again is answered as the first time; with other content it is refused."""
    member = world.members[0]
    client, key = world.principal(member), KeyPair.generate()

    def registration(name):
        agent = admin.new_id()
        proof = key.sign(f"rochdale-agent:{agent}:{member.principal_id}".encode())
        return documents.sign(member.key, gov.AgentRegistration(
            agent_id=agent, principal_id=member.principal_id, public_key=key.public_hex,
            proof_of_possession=proof.hex(), display_name=name, signed_time_us=documents.now_us()))

    request = gov.RegisterAgentRequest(request_id=admin.new_id(), registration=registration("One"))
    first = client.transport.call("governance", "RegisterAgent", request)
    before = shown(world)
    assert client.transport.call("governance", "RegisterAgent", request) == first
    assert shown(world) == before
    request.registration.CopyFrom(registration("Two"))
    with refused(world, "REQUEST_ID_REUSED"):
        client.transport.call("governance", "RegisterAgent", request)


@pytest.mark.parametrize("request_id", ["", "1", "z" * 36, "A" * 100_000])
def test_a_request_id_that_is_none(world, request_id):
    request = gov.RegisterAgentRequest(request_id=request_id)
    with refused(world, "BAD_REQUEST", "DOCUMENT_INVALID"):
        world.principal(world.members[0]).transport.call("governance", "RegisterAgent", request)


def test_registering_twice(world):
    with world.connect(world.members[0].key) as client, refused(world, "KEY_IN_USE"):
        client.admin.register_principal("Again")
    with world.connect(world.members[0].agent_key) as client, refused(world, "KEY_IN_USE"):
        client.admin.register_principal("With the agent's key")


def test_a_commitment_beyond_the_governed_limit(world):
    round_, member = world.await_state(1, rounds.OPEN), world.members[0]
    large = commitment(world, member, round_, size_bytes=100_001)
    with refused(world, "UPLOAD_TOO_LARGE"):
        commit(world.agent(member), documents.sign(member.agent_key, large))


# ---- Money ----


def test_transfers_that_may_not_be(world):
    member, other = world.members[0], world.members[1]
    acts = world.principal(member).admin
    with refused_transfer(world, "INSUFFICIENT_FUNDS"):
        acts.transfer(member.account_id, other.account_id, 1)
    source = world.source_account()
    with refused_transfer(world, "NOT_AUTHORISED"):
        acts.transfer(source, member.account_id, 1)
    with refused_transfer(world, "SAME_ACCOUNT"):
        world.founder.admin.transfer(source, source, 1)
    with refused_transfer(world, "CREDIT_ACCOUNT_NOT_FOUND"):
        world.founder.admin.transfer(source, admin.new_id(), 1)
    with refused_transfer(world, "NOT_AUTHORISED"):  # a kind that services post
        world.founder.admin.transfer(source, member.account_id, 1, kind="REWARD")
    for amount in (0, -1):
        with refused(world, "BAD_REQUEST"):
            world.founder.admin.transfer(source, member.account_id, amount)


def test_an_epoch_over_rounds_that_run(world):
    with refused(world, "ROUNDS_UNSETTLED"):
        world.founder.admin.close_epoch(world.pool_id, 1, 1, wait=False)


def test_commitments_after_the_deadline(server, world):
    """Time decides, whether or not the engine has moved the round on."""
    late = World(server, seed=3, members=1, funder=world, parameters={
        "round.open_ms": 1_000, "round.commit_ms": 100, "round.reveal_ms": 100}).found()
    late.start_training(1)
    round_, member = late.await_state(1, rounds.OPEN), late.members[0]
    time.sleep(max(0.0, round_.deadline_us / 1e6 - time.time()) + 0.3)
    with pytest.raises(errors.FailedPrecondition) as raised:
        commit(late.agent(member), documents.sign(
            member.agent_key, commitment(late, member, round_)))
    assert raised.value.reason == "ROUND_NOT_ACCEPTING"
    assert not late.updates(round_)
    late.close()


# ---- The round goes on, as if nothing had been ----


def test_the_round_itself(world):
    """After all of the above round 1 still ends as it should; on the way: an update twice, a reveal
    too early, by another, without bytes, of other bytes."""
    round_ = world.await_state(1, rounds.OPEN)
    assert not world.updates(round_)
    first, second = world.members[0], world.members[1]
    world.commit(first, round_)
    mine = world.update_ids[1, 0]
    with refused(world, "UPDATE_EXISTS"):
        commit(world.agent(first), documents.sign(
            first.agent_key, commitment(world, first, round_)))
    with refused(world, "ROUND_NOT_ACCEPTING"):
        reveal(world.agent(first), mine)
    with refused(world, "NOT_FOUND"):
        reveal(world.agent(second), mine)
    for member in world.members[1:-1]:
        world.commit(member, round_)
    last = world.members[-1]
    nothing = admin.new_id()
    commit(world.agent(last), documents.sign(
        last.agent_key, commitment(world, last, round_, update_id=nothing)))
    world.await_state(1, rounds.REVEAL)
    with refused(world, "UPLOAD_INCOMPLETE"):
        reveal(world.agent(last), nothing)
    with refused(world, "ROUND_NOT_ACCEPTING"):
        commit(world.agent(last), documents.sign(
            last.agent_key, commitment(world, last, round_)))
    for member in world.members[:-1]:
        world.reveal(member, round_)
    assert {explain.state_name(u) for u in world.updates(round_)} == {"RECEIVED", "COMMITTED"}
    counts = collections.Counter(e.kind for e in checks.check_log(world.founder)
                                 if e.cooperative == world.cooperative_id)
    assert counts["UPDATE_COMMITTED"] == 5
    assert counts["MANDATE_GRANTED"] == 5 + 2 and counts["MANDATE_REVOKED"] == 1
    checks.check_money(world)
