"""What is wrong is refused with its documented reason, over the real API, and changes nothing.

Every refusal is made between two looks at what the services show; at the end the log holds exactly
what legitimate steps wrote.
"""

import collections
import contextlib
import struct
import time

import grpc
import numpy as np
import pytest

import checks
from cooperative import ABANDONED, Server, World
from rochdale import admin, documents, errors, explain, protos, rounds, safetensors, tokens, uploads
from rochdale.keys import KeyPair

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
    wait_for(world, rounds.OPEN)
    yield world
    world.close()


def wait_for(world, state, number: int = 1):
    return world.await_state(number, state)


def shown(world) -> dict:
    """What the services show of the world."""
    call = world.founder.transport.call
    lists = world.founder.transport.pages
    coop = world.cooperative_id
    return {
        "rounds": [str(r) for r in world.rounds()],
        "updates": [str(u) for r in world.rounds() for u in world.updates(r)],
        "members": [str(m) for m in lists("governance", "ListMembers", gov.ListMembersRequest(
            cooperative_id=coop), "members")],
        "mandates": [str(m) for m in lists("governance", "ListMandates", gov.ListMandatesRequest(
            cooperative_id=coop), "mandates")],
        "parameters": str(call("governance", "GetParameters", gov.GetParametersRequest(
            cooperative_id=coop))),
        "checkpoints": [str(c) for c in lists("attribution", "ListCheckpoints",
                                              att.ListCheckpointsRequest(cooperative_id=coop),
                                              "checkpoints")],
        "balances": [world.balance(a) for a in (world.source_account(), world.pool().account_id,
                                                *(m.account_id for m in world.members))],
    }


@contextlib.contextmanager
def refused(world, *reasons):
    """The block raises an error with one of these reasons, and nothing that is shown changes."""
    before = shown(world)
    with pytest.raises(errors.RochdaleError) as raised:
        yield raised
    assert raised.value.reason in reasons, raised.value
    assert raised.value.reason in protos.reasons.REASONS, "not a documented reason"
    assert shown(world) == before


def commitment(world, member, round_, **changes):
    """A commitment to some 100 bytes, with fields changed, as the member's agent would sign it."""
    fields = {"update_id": admin.new_id(), "round_id": round_.round_id,
              "agent_id": member.agent_id, "base_sha256": round_.base_sha256,
              "update_sha256": "ab" * 32, "size_bytes": 100, "sample_count": 1,
              "signed_time_us": documents.now_us(), **changes}
    return flt.UpdateCommitment(**fields)


def commit(client, document, request_id=None):
    return client.transport.call("filter", "CommitUpdate", flt.CommitUpdateRequest(
        request_id=request_id or admin.new_id(), commitment=document))


# ---- Commitments ----


def test_a_stale_checkpoint(world):
    round_, member = wait_for(world, rounds.OPEN), world.members[0]
    stale = commitment(world, member, round_, base_sha256="00" * 32)
    with refused(world, "STALE_CHECKPOINT"):
        commit(world.agent(member), documents.sign(member.agent_key, stale))


def test_forged_documents(world):
    round_, member, other = wait_for(world, rounds.OPEN), world.members[0], world.members[1]
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
    wait_for(world, rounds.OPEN)
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
    round_, member = wait_for(world, rounds.OPEN), world.members[0]
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
    round_, member = wait_for(world, rounds.OPEN), world.members[0]
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
    round_, member = wait_for(world, rounds.OPEN), world.members[0]
    key = KeyPair.generate()
    agent = world.principal(member).admin.register_agent(key, "Without a mandate")
    with world.connect(key, f"agent:{agent.agent_id}") as client:
        document = documents.sign(key, commitment(world, member, round_, agent_id=agent.agent_id))
        with refused(world, "MANDATE_MISSING"):
            commit(client, document)


def test_a_paused_agent(world):
    round_, member = wait_for(world, rounds.OPEN), world.members[2]
    acts = world.principal(member).admin
    acts.set_agent_pause(member.agent_id, True, "a look first")
    with refused(world, "AGENT_PAUSED"):
        commit(world.agent(member), documents.sign(
            member.agent_key, commitment(world, member, round_)))
    acts.set_agent_pause(member.agent_id, False)


def test_a_revoked_and_an_expired_mandate(world):
    round_, member = wait_for(world, rounds.OPEN), world.members[0]
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
    round_ = wait_for(world, rounds.OPEN)
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


# ---- Uploads ----


def begin(client, **fields):
    request = protos.common.BeginUploadRequest(
        request_id=admin.new_id(), purpose=uploads.PURPOSES["update"], size_bytes=1000,
        sha256="cd" * 32)
    for name, value in fields.items():
        setattr(request, name, value)
    return client.transport.call("filter", "BeginUpload", request)


def send(client, *chunks):
    try:
        return client.transport.method("filter", "UploadBlob")(iter(chunks), timeout=10)
    except grpc.RpcError as raw:
        raise errors.from_rpc(raw) from None


def chunk(upload, offset, data):
    return protos.common.UploadChunk(upload_id=upload.upload_id, offset_bytes=offset, data=data)


def test_uploads_beyond_their_limits(world):
    client = world.agent(world.members[0])
    with refused(world, "UPLOAD_TOO_LARGE"):
        begin(client, size_bytes=2**40)
    with refused(world, "BAD_REQUEST"):
        begin(client, size_bytes=0)
    with refused(world, "BAD_REQUEST"):
        begin(client, size_bytes=-5)
    with refused(world, "BAD_REQUEST"):
        begin(client, sha256="../../../../etc/passwd")
    with refused(world, "PERMISSION_DENIED"):  # not for agents
        begin(client, purpose=uploads.PURPOSES["probe"])
    upload = begin(client, sha256="01" * 32, size_bytes=10)
    with refused(world, "UPLOAD_TOO_LARGE"):
        send(client, chunk(upload, 0, bytes(11)))
    with refused(world, "UPLOAD_OFFSET"):
        send(client, chunk(upload, 5, bytes(5)))
    with refused(world, "UPLOAD_OFFSET"):
        send(client, chunk(upload, -1, bytes(5)))
    with refused(world, "DIGEST_MISMATCH"):
        send(client, chunk(upload, 0, bytes(10)))
    with refused(world, "NOT_FOUND"):  # another's
        other = begin(world.agent(world.members[1]), sha256="02" * 32, size_bytes=10)
        send(client, chunk(other, 0, bytes(10)))
    with refused(world, "UPLOAD_INCOMPLETE"):
        send(client)


def test_a_commitment_beyond_the_governed_limit(world):
    round_, member = wait_for(world, rounds.OPEN), world.members[0]
    large = commitment(world, member, round_, size_bytes=100_001)
    with refused(world, "UPLOAD_TOO_LARGE"):
        commit(world.agent(member), documents.sign(member.agent_key, large))


def test_downloads_of_what_is_anothers(world):
    data = b"x" * 100
    digest = uploads.upload(world.agent(world.members[0]).transport, "filter",
                            world.members[0].agent_key, "update", data)
    for client in (world.agent(world.members[1]), world.founder):
        with refused(world, "NOT_FOUND"):
            uploads.download(client.transport, "filter", digest)


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


@contextlib.contextmanager
def refused_transfer(world, word):
    """As refused, for the words of TransferResult, which are no reasons of errors."""
    before = shown(world)
    with pytest.raises(errors.TransferRefused) as raised:
        yield
    assert raised.value.reason == word, raised.value
    assert shown(world) == before


# ---- Bytes ----


def blob(**tensors) -> bytes:
    """A delta of the model's shapes, zero unless given."""
    whole = {"0.weight": np.zeros((8, 16), "<f4"), "0.bias": np.zeros(8, "<f4"),
             "2.weight": np.zeros((4, 8), "<f4"), "2.bias": np.zeros(4, "<f4")}
    whole.update({name.replace("_", "."): value for name, value in tensors.items()})
    return safetensors.save({n: v for n, v in whole.items() if v is not None})


def header(text: bytes, data: bytes = b"") -> bytes:
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def value(number) -> np.ndarray:
    return np.full(8, number, "<f4")


HOSTILE = [
    ("a transposed weight", "TENSOR_MISMATCH", blob(**{"0_weight": np.zeros((16, 8), "<f4")})),
    ("a tensor missing", "TENSOR_MISMATCH", blob(**{"0_bias": None})),
    ("a tensor too many", "TENSOR_MISMATCH", blob(**{"4_bias": np.zeros(4, "<f4")})),
    ("another dtype", "TENSOR_MISMATCH", blob(**{"0_bias": np.zeros(8, "<f8")})),
    ("NaN", "TENSOR_NOT_FINITE", blob(**{"0_bias": value(np.nan)})),
    ("infinity", "TENSOR_NOT_FINITE", blob(**{"0_bias": value(-np.inf)})),
    ("beyond the grid", "TENSOR_NOT_FINITE", blob(**{"0_bias": value(8)})),
    ("truncated", "TENSOR_MALFORMED", blob()[:-5]),
    ("a header alone", "TENSOR_MALFORMED", blob()[:40]),
    ("surplus bytes", "TENSOR_MALFORMED", blob() + b"x"),
    ("a length beyond all bounds", "TENSOR_MALFORMED", struct.pack("<Q", 2**63) + b"{}"),
    ("an endless shape", "TENSOR_MALFORMED", header(
        b'{"0.bias":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}')),
    ("offsets that overlap", "TENSOR_MALFORMED", header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4))),
    ("negative offsets", "TENSOR_MALFORMED", header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}', bytes(4))),
    ("not JSON", "TENSOR_MALFORMED", header(b"\0\1\2\3")),
    ("deep JSON", "TENSOR_MALFORMED", header(b"{" + b'"a":[' * 50_000)),
    ("a name that is a path", "TENSOR_MISMATCH", header(
        b'{"../../etc":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4))),
    ("one byte", "TENSOR_MALFORMED", b"\0"),
]


def submit_bytes(world, member, round_, data: bytes) -> str:
    """Commits to any bytes and uploads them, as no SDK would."""
    client, update_id = world.agent(member), admin.new_id()
    wanted = commitment(world, member, round_, update_id=update_id, size_bytes=len(data),
                        update_sha256=uploads.sha256(data))
    commit(client, documents.sign(member.agent_key, wanted))
    uploads.upload(client.transport, "filter", member.agent_key, "update", data)
    return update_id


def reveal(client, update_id):
    client.transport.call("filter", "RevealUpdate", flt.RevealUpdateRequest(
        request_id=admin.new_id(), update_id=update_id))


@pytest.fixture(scope="module")
def hasty(server, world):
    """A cooperative whose rounds wait for a second only: (world, next round's number)."""
    hasty = World(server, seed=2, funder=world, parameters={
        "round.reveal_ms": 1_200, "round.open_ms": 30_000, "round.min_updates": 1}).found()
    hasty.start_training(50)
    yield hasty
    hasty.close()


def test_hostile_bytes(hasty):
    """Each is committed to, uploaded and refused when it is revealed; its update expires, and the
    round is abandoned where nothing else is there."""
    for first in range(0, len(HOSTILE), len(hasty.members)):
        wave = HOSTILE[first:first + len(hasty.members)]
        round_ = wait_for(hasty, rounds.OPEN, 1 + first // len(hasty.members))
        ids = []
        for member, (_, _, data) in zip(hasty.members, wave):
            ids.append(submit_bytes(hasty, member, round_, data))
        for member in hasty.members[len(wave):]:
            submit_bytes(hasty, member, round_, b"also wrong")
        wait_for(hasty, rounds.REVEAL, round_.number)
        for member, update_id, (what, reason, _) in zip(hasty.members, ids, wave):
            with pytest.raises(errors.RochdaleError) as raised:
                reveal(hasty.agent(member), update_id)
            assert raised.value.reason == reason, f"{what}: {raised.value}"
            assert hasty.agent(member).update(update_id).state == "COMMITTED", what
        while hasty.round(round_.number).state < rounds.CLOSED:
            time.sleep(0.05)
        assert hasty.round(round_.number).state == ABANDONED
        assert hasty.round(round_.number).reason == "MIN_UPDATES"
        for update_id in ids:
            assert hasty.founder.update(update_id).state == "EXPIRED"
    kinds = collections.Counter(e.kind for e in checks.check_log(hasty.founder)
                                if e.cooperative == hasty.cooperative_id)
    assert "UPDATE_RECEIVED" not in kinds and "CREDIT_ASSIGNED" not in kinds
    assert "CHECKPOINT_MADE" not in kinds or kinds["CHECKPOINT_MADE"] == 1


def test_commitments_after_the_deadline(server, world):
    """Time decides, even before the engine has moved the round on."""
    late = World(server, seed=3, members=1, funder=world, parameters={
        "round.open_ms": 300, "round.commit_ms": 100, "round.reveal_ms": 100}).found()
    late.start_training(1)
    round_, member = wait_for(late, rounds.OPEN), late.members[0]
    time.sleep(0.5)
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
    round_ = wait_for(world, rounds.OPEN)
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
    wait_for(world, rounds.REVEAL)
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
