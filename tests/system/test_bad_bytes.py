"""Bytes that are not what they should be: uploads beyond limits, and files that no SDK would write,
which are refused when they are revealed."""

import collections
import struct
import time

import grpc
import numpy as np
import pytest

import checks
from cooperative import ABANDONED, World
from refusals import commit, commitment, refused, reveal
from rochdale import admin, documents, errors, protos, rounds, safetensors, uploads
from standalone import Server


@pytest.fixture(scope="module")
def world(module_dir):
    """Nine members, whose rounds wait for reveals for two seconds only; round 1 is OPEN."""
    with Server(module_dir / "data") as server:
        world = World(server, seed=2, members=9, parameters={
            "round.reveal_ms": 2_000, "round.min_updates": 1}).found()
        world.start_training(50)
        world.await_state(1, rounds.OPEN)
        yield world
        world.close()


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


def test_downloads_of_what_is_anothers(world):
    data = b"x" * 100
    digest = uploads.upload(world.agent(world.members[0]).transport, "filter",
                            world.members[0].agent_key, "update", data)
    for client in (world.agent(world.members[1]), world.founder):
        with refused(world, "NOT_FOUND"):
            uploads.download(client.transport, "filter", digest)


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


def test_hostile_bytes(world):
    """Each is committed to, uploaded and refused when it is revealed; its update expires, and the
    round is abandoned where nothing else is there."""
    for first in range(0, len(HOSTILE), len(world.members)):
        wave = HOSTILE[first:first + len(world.members)]
        round_ = world.await_state(1 + first // len(world.members), rounds.OPEN)
        ids = []
        for member, (_, _, data) in zip(world.members, wave):
            ids.append(submit_bytes(world, member, round_, data))
        for member in world.members[len(wave):]:
            submit_bytes(world, member, round_, b"also wrong")
        world.await_state(round_.number, rounds.REVEAL)
        for member, update_id, (what, reason, _) in zip(world.members, ids, wave):
            with pytest.raises(errors.RochdaleError) as raised:
                reveal(world.agent(member), update_id)
            assert raised.value.reason == reason, f"{what}: {raised.value}"
            assert world.agent(member).update(update_id).state == "COMMITTED", what
        while world.round(round_.number).state < rounds.CLOSED:
            time.sleep(0.05)
        assert world.round(round_.number).state == ABANDONED
        assert world.round(round_.number).reason == "MIN_UPDATES"
        for update_id in ids:
            assert world.founder.update(update_id).state == "EXPIRED"
    kinds = collections.Counter(e.kind for e in checks.check_log(world.founder)
                                if e.cooperative == world.cooperative_id)
    assert "UPDATE_RECEIVED" not in kinds and "CREDIT_ASSIGNED" not in kinds
    assert "CHECKPOINT_MADE" not in kinds or kinds["CHECKPOINT_MADE"] == 1
