"""Flows of the client against a fake server: the ten lines, resume, retry, idempotency."""

import threading

import grpc
import numpy as np
import pytest

import rochdale
from rochdale import documents, errors, protos, rounds, safetensors, transport, uploads

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", 0.01)


def trained(task):
    return {name: array + np.float32(0.125) for name, array in task.checkpoint("numpy").items()}


def test_ten_lines(fake, agent):
    task = agent.round("demo").join(timeout=5)
    assert task.number == 1 and task.checkpoint("numpy")["0.weight"].shape == (3, 4)
    progress = []
    update = task.submit(trained(task), sample_count=600,
                         progress=lambda done, total: progress.append((done, total)))
    assert update.state == "RECEIVED"
    assert progress[-1][0] == progress[-1][1]
    fake.decide(update.id, "APPLIED", "ALLOW", findings=[protos.filter.RuleFinding(
        rule_id="floor.magnitude", scope="RULE_SCOPE_FLOOR", kind="RULE_KIND_MAGNITUDE",
        verdict="VERDICT_ALLOW", measured="1.25", threshold="4")])
    text = update.wait(timeout=5).explain()
    assert "applied" in text and "magnitude" in text and "measured 1.25, bound 4" in text
    assert "credit 42 nano-nats" in text
    receipt = update.receipt
    assert receipt.entry.kind == "DECISION_MADE"
    assert agent.verify(receipt)
    # What was uploaded is the difference, and what was committed to is what was uploaded.
    commitment = documents.decode(fake.requests["CommitUpdate"][0].commitment)
    delta = safetensors.load(fake.blobs[commitment.update_sha256])
    base = safetensors.load(fake.base)
    for name in base:
        np.testing.assert_array_equal(delta[name], (base[name] + np.float32(.125)) - base[name])
    assert commitment.base_sha256 == fake.base_sha and commitment.sample_count == 600
    assert all(token.startswith("Bearer ") for token in fake.tokens)


def test_rejection_is_explained(fake, agent):
    task = agent.round("demo").join(timeout=5)
    update = task.submit(trained(task))
    fake.decide(update.id, "REJECTED", "DENY", reason="VALUE_EFFECT", findings=[
        protos.filter.RuleFinding(rule_id="mine", scope="RULE_SCOPE_PRINCIPAL",
                                  kind="RULE_KIND_VALUE_EFFECT", verdict="VERDICT_DENY",
                                  reason="VALUE_EFFECT", advice="train less on class 3",
                                  rows=1000, of_rows=4000)])
    text = update.wait(timeout=5).explain()
    assert "on 1,000 of 4,000 rows" in text
    assert "rejected" in text and "raises the loss of a protected probe" in text
    assert "your own profile" in text and "train less on class 3" in text


def test_calls_are_repeated_with_the_same_request(fake, agent):
    task = agent.round("demo").join(timeout=5)
    fake.faults["CommitUpdate"] = [UNAVAILABLE, UNAVAILABLE]
    fake.faults["RevealUpdate"] = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 0.01)]
    update = task.submit(trained(task))
    assert update.state == "RECEIVED"
    assert fake.calls["CommitUpdate"] == 3 and fake.calls["RevealUpdate"] == 2
    assert len({r.SerializeToString() for r in fake.requests["CommitUpdate"]}) == 1


def test_retries_are_bounded(fake, agent):
    fake.faults["GetCooperative"] = [UNAVAILABLE] * 50
    with pytest.raises(errors.Unavailable):
        agent.cooperative("demo")
    assert fake.calls["GetCooperative"] == transport.ATTEMPTS_MAX


@pytest.mark.parametrize("code, reason, retry", [
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", None),
    (grpc.StatusCode.FAILED_PRECONDITION, "ROUND_STATE", 0.01),
    (grpc.StatusCode.INTERNAL, "INTERNAL", 0.01),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 0.01)])
def test_what_is_not_retried(fake, agent, code, reason, retry):
    fake.faults["GetCooperative"] = [(code, reason, retry)]
    with pytest.raises(errors.RochdaleError) as caught:
        agent.cooperative("demo")
    assert caught.value.reason == reason and fake.calls["GetCooperative"] == 1


def test_a_mutation_without_request_id_is_not_repeated():
    reveal = protos.filter.RevealUpdateRequest(update_id="x")
    assert not transport.is_safe_to_repeat("RevealUpdate", reveal)
    reveal.request_id = "r"
    assert transport.is_safe_to_repeat("RevealUpdate", reveal)
    assert transport.is_safe_to_repeat("GetUpdate", protos.filter.GetUpdateRequest())
    assert not transport.is_safe_to_repeat("UploadBlob", protos.common.UploadChunk())


def test_upload_resumes_where_it_broke(fake, agent, monkeypatch):
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 1000)
    data = np.random.default_rng(1).bytes(10_500)
    fake.break_upload_after = [3, 0, 4]
    progress = []
    digest = uploads.upload(agent.transport, "filter", agent.key, "update", data,
                            lambda done, total: progress.append(done), sleep=lambda s: None)
    assert fake.blobs[digest] == data
    assert fake.calls["UploadBlob"] == 4
    assert len({r.request_id for r in fake.requests["BeginUpload"]}) == 4
    # A second upload of the same bytes has nothing to send.
    uploads.upload(agent.transport, "filter", agent.key, "update", data)
    assert fake.calls["UploadBlob"] == 4


def test_upload_gives_up_when_it_gets_nowhere(fake, agent):
    fake.break_upload_after = [0] * 50
    with pytest.raises(errors.Unavailable):
        uploads.upload(agent.transport, "filter", agent.key, "update", b"x" * 100,
                       sleep=lambda s: None)
    assert fake.calls["UploadBlob"] == uploads.STALLS_MAX


def test_download_resumes_and_is_verified(fake, agent):
    fake.break_download_after = [1, 0, 1]
    data = uploads.download(agent.transport, "attribution", fake.base_sha, sleep=lambda s: None)
    assert data == fake.base and fake.calls["DownloadBlob"] == 4
    fake.blobs["00" * 32] = fake.base
    with pytest.raises(errors.DataLoss) as caught:
        uploads.download(agent.transport, "attribution", "00" * 32)
    assert caught.value.reason == "DIGEST_MISMATCH"
    with pytest.raises(errors.DataLoss):
        uploads.download(agent.transport, "attribution", fake.base_sha, bytes_max=10)


def test_restart_goes_on_with_the_same_commitment(fake, agent, tmp_path):
    agent.state_dir = tmp_path / "state"
    fake.reveal_after_commits = 99
    task = agent.round("demo").join(timeout=5)
    update = task.submit(trained(task), reveal=False)
    first = fake.requests["CommitUpdate"][-1]
    # The program starts again: training gives other numbers, but the commitment stands.
    with rochdale.connect(fake.target, key=fake.agent_key, identity=f"agent:{fake.agent_id}",
                          cooperative="demo", state_dir=tmp_path / "state") as again:
        task = again.round().join(timeout=5)
        fake.round.state = rounds.REVEAL
        other = {name: array * 2 for name, array in trained(task).items()}
        resumed = task.submit(other)
    assert resumed.id == update.id and resumed.state == "RECEIVED"
    assert fake.requests["CommitUpdate"][-1] == first
    assert list((tmp_path / "state").iterdir()) == []


def test_an_update_is_uploaded_once_commitments_are_closed(fake, agent):
    fake.reveal_after_commits = 99
    task = agent.round("demo").join(timeout=5)
    with pytest.raises(errors.DeadlineExceeded):
        task.submit(trained(task), timeout=0.3)
    assert fake.calls["CommitUpdate"] == 1 and not fake.requests["RevealUpdate"]
    assert not fake.calls["UploadBlob"]  # nobody has seen it
    fake.round.state = rounds.REVEAL
    assert task.submit(trained(task)).state == "RECEIVED"
    assert fake.calls["UploadBlob"] == 1


def test_an_update_is_uploaded_early_where_one_asks_for_it(fake, agent):
    fake.reveal_after_commits = 99
    task = agent.round("demo").join(timeout=5)
    with pytest.raises(errors.DeadlineExceeded):
        task.submit(trained(task), upload_early=True, timeout=0.3)
    assert fake.calls["UploadBlob"] == 1 and not fake.requests["RevealUpdate"]


def test_a_commitment_that_arrived_before_is_recognised(fake, agent):
    task = agent.round("demo").join(timeout=5)
    state = trained(task)
    task.submit(state)
    fake.round.state, fake.answered = rounds.REVEAL, {}
    # Signed at another time, so another request: the server says UPDATE_EXISTS, and it is ours.
    assert task.submit(state).id == fake.requests["RevealUpdate"][0].update_id
    with pytest.raises(errors.AlreadyExists):
        task.submit({name: array * 3 for name, array in state.items()})


def test_join_waits_for_an_open_prepared_later_round(fake, agent):
    fake.round.deadline_us = 0
    with pytest.raises(errors.RoundUnavailable):
        agent.round("demo").join(timeout=0.3)
    deadline = 4_000_000_000_000_000
    threading.Timer(0.3, lambda: setattr(fake.round, "deadline_us", deadline)).start()
    task = agent.round().join(timeout=5)
    assert task.number == 1 and task.deadline.year > 2090
    agent.cooperative().submitted_round = 1
    with pytest.raises(errors.RoundUnavailable):
        agent.round().join(timeout=0.3)


@pytest.mark.parametrize("state, reason", [("ROUND_STATE_SCREEN", "ROUND_NOT_ACCEPTING"),
                                           ("ROUND_STATE_ABANDONED", "NOT_APPLIED_ABANDONED")])
def test_reveal_too_late(fake, agent, state, reason):
    fake.reveal_after_commits = 99
    task = agent.round("demo").join(timeout=5)
    update = task.submit(trained(task), reveal=False)
    fake.round.state = protos.attribution.RoundState.Value(state)
    with pytest.raises(errors.RoundUnavailable) as caught:
        update.reveal(timeout=5)
    assert caught.value.reason == reason


def test_what_cannot_be_submitted(fake, agent):
    task = agent.round("demo").join(timeout=5)
    good = trained(task)
    bad = [{**good, "extra": np.zeros(1, "f4")}, {"0.weight": good["0.weight"]},
           {**good, "0.bias": np.zeros(4, "f4")}, {**good, "0.bias": np.full(3, np.nan, "f4")},
           {**good, "0.bias": np.full(3, 9, "f4")}]
    for state in bad:
        with pytest.raises(ValueError):
            task.submit(state)
    with pytest.raises(ValueError):
        task.submit()
    with pytest.raises(ValueError):
        task.submit(good, sample_count=0)
    assert fake.calls["CommitUpdate"] == 0


def test_a_new_token_follows_a_refused_one(fake, agent):
    fake.faults["GetCooperative"] = [(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", None)]
    agent.cooperative("demo")
    assert fake.tokens[0] != fake.tokens[1]
    fake.faults["GetAgent"] = [(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", None)] * 2
    with pytest.raises(errors.Unauthenticated):
        agent.principal_id  # noqa: B018


def test_receipts_wait_for_the_signed_log(fake, agent):
    import time
    event = fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=2)
    fake.unsigned_until = time.monotonic() + 0.4
    receipt = agent.receipt(event, timeout=5)
    assert receipt.entry.fields == {"from_state": 1, "to_state": 2}
    fake.unsigned_until = time.monotonic() + 60
    with pytest.raises(errors.OutOfRange):
        agent.receipt(event, timeout=0.3)


def test_verification_is_plain_about_trust(fake, agent):
    event = fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=2)
    receipt = agent.receipt(event)
    found = agent.verify(receipt)
    assert found and not found.pinned and "first use" in found.detail
    pinned = str(agent.log.key())
    with rochdale.connect(fake.target, log_key=pinned) as stranger:
        found = stranger.verify(receipt.to_text())
        assert found and found.pinned and "first use" not in found.detail
    other = rochdale.KeyPair.generate()
    from rochdale import note
    with rochdale.connect(fake.target, log_key=str(note.Key(fake.origin, other.public_key))) as c:
        assert not c.verify(receipt)


def test_tampered_receipts_do_not_verify(fake, agent):
    for number in range(5):
        event = fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=number)
    receipt = agent.receipt(event)
    assert agent.verify(receipt)
    text = receipt.to_text()
    assert rochdale.Receipt.from_text(text) == receipt
    for at in range(0, len(text), 7):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1:]
        assert not agent.verify(changed), at


def test_a_rewritten_log_is_noticed(fake, agent):
    first = fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=1)
    fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=2)
    assert agent.verify(agent.receipt(first))
    last = fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=3)
    assert agent.verify(agent.receipt(last))
    del fake.leaves[0]
    fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=4)
    newest = fake.log("ROUND_STATE_CHANGED", fake.round_id, from_state=1, to_state=5)
    found = agent.verify(agent.receipt(newest))
    assert not found and "rewritten" in found.detail


def test_plaintext_stays_on_this_machine():
    for target in ("example.org:7443", "10.0.0.1:7443", "127.0.0.1.example.org:1", "dns:///a.b:1"):
        with pytest.raises(ValueError):
            rochdale.connect(target)
    for target in ("localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/tmp/x", "dns:///localhost:1"):
        rochdale.connect(target).close()
    rochdale.connect("example.org:7443", tls=rochdale.Tls()).close()


def test_an_identity_needs_its_key(monkeypatch, tmp_path):
    monkeypatch.setenv("ROCHDALE_HOME", str(tmp_path))
    monkeypatch.delenv("ROCHDALE_KEY", raising=False)
    with pytest.raises(ValueError):
        rochdale.connect("localhost:1", identity="agent:00000000-0000-4000-8000-000000000001")
    with pytest.raises(ValueError):
        rochdale.connect("localhost:1", key=rochdale.KeyPair.generate(), identity="agent:me")


def test_asynchronous_flow(fake, agent):
    import asyncio

    from rochdale import aio
    fake.faults["CommitUpdate"] = [UNAVAILABLE]
    fake.break_download_after = [1]
    fake.break_upload_after = [0]

    async def flow():
        async with aio.connect(fake.target, key=fake.agent_key,
                               identity=f"agent:{fake.agent_id}") as coop:
            task = await (await coop.round("demo")).join(timeout=5)
            update = await task.submit(trained(task))
            assert update.state == "RECEIVED"
            fake.decide(update.id, "PROJECTED", "PROJECT")
            return await update.wait(until="decided", timeout=5)

    update = asyncio.run(flow())
    assert update.state == "PROJECTED" and "projected" in update.explain_text
    assert fake.calls["CommitUpdate"] == 2 and fake.calls["UploadBlob"] == 2


def test_waiting_outlives_a_server_that_is_away(fake, agent):
    fake.faults["GetRound"] = [UNAVAILABLE] * (transport.ATTEMPTS_MAX + 1)
    task = agent.round("demo").join(timeout=5)
    fake.faults["GetRound"] = [UNAVAILABLE] * (transport.ATTEMPTS_MAX + 1)
    update = task.submit(trained(task))
    fake.decide(update.id, "APPLIED", "ALLOW")
    fake.faults["GetUpdate"] = [UNAVAILABLE] * (transport.ATTEMPTS_MAX + 1)
    assert update.wait(timeout=5).state == "APPLIED"


class Model:
    """What take_part needs of a PyTorch model."""

    def __init__(self):
        self.parameters = {}

    def load_state_dict(self, state):
        self.parameters = {name: np.array(value) for name, value in state.items()}

    def state_dict(self):
        return self.parameters


def test_training_loop(fake, agent):
    model = Model()

    def train(model, task):
        assert rochdale.training.TimeLeft(task)()
        model.parameters = {n: a + np.float32(0.5) for n, a in model.parameters.items()}
        threading.Timer(0.5, lambda: fake.decide(next(iter(fake.updates)), "APPLIED",
                                                 "ALLOW")).start()
        return 12

    updates = list(rochdale.training.take_part(agent, model, train, rounds=1, cooperative="demo",
                                               join_timeout=5, wait_timeout=5))
    assert [u.state for u in updates] == ["APPLIED"]
    commitment = documents.decode(fake.requests["CommitUpdate"][0].commitment)
    assert commitment.sample_count == 12
    with pytest.raises(errors.RoundUnavailable):
        next(rochdale.training.take_part(agent, model, train, join_timeout=0.3))


def test_torch_state_dicts(fake, agent):
    torch = pytest.importorskip("torch")
    task = agent.round("demo").join(timeout=5)
    state = task.checkpoint("torch")
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    state["0.bias"] += 1
    delta = safetensors.load(task.prepare(state).blob)
    np.testing.assert_array_equal(delta["0.bias"], np.ones(3, "f4"))
    np.testing.assert_array_equal(delta["0.weight"], np.zeros((3, 4), "f4"))
