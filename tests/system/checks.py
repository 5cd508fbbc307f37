"""What must hold of every cooperative at rest, whatever happened to its server. Each check raises
AssertionError with what it found."""

import collections
import hashlib
import json
import time

import numpy as np

from rochdale import entry as entries, explain, merkle, note, protos, safetensors, uploads

# Entries of which a subject has at most one.
ONCE = ("COOPERATIVE_FOUNDED", "PRINCIPAL_REGISTERED", "AGENT_REGISTERED", "MANDATE_GRANTED",
        "MODEL_CREATED", "VALIDATION_POOL_SEALED", "ROUND_OPENED", "ROUND_CLOSED",
        "ROUND_ABANDONED",
        "UPDATE_COMMITTED", "UPDATE_RECEIVED", "UPDATE_EXPIRED", "DECISION_MADE", "UPDATE_APPLIED",
        "UPDATE_NOT_APPLIED", "CREDIT_ASSIGNED", "EVIDENCE_MADE", "EPOCH_CLOSED", "EPOCH_SETTLED",
        "STATEMENT_ISSUED", "TRANSFER_POSTED", "ACCOUNT_OPENED", "POOL_CREATED",
        "CHECKPOINT_MADE")


def tree_head(client) -> note.Checkpoint:
    """The newest signed tree head, under the key that the client was given."""
    head = client.transport.call("ledger", "GetTreeHead", protos.ledger.GetTreeHeadRequest())
    return note.Checkpoint.open(head.tree_head.note, client.log.key())


def wait_until_signed(client, size: int, seconds: float = 30) -> None:
    """Until a signed tree head has so many entries: one is made about once a second."""
    end = time.monotonic() + seconds
    while tree_head(client).size < size:
        assert time.monotonic() < end, f"no tree head of {size} entries was signed"
        time.sleep(0.1)


def log_bytes(client) -> list:
    """Canonical bytes of every entry, signed or not yet."""
    found = list(client.transport.pages("ledger", "ListEntries",
                                        protos.ledger.ListEntriesRequest(), "entries", 1000))
    assert [item.log_index for item in found] == list(range(len(found))), "the log has gaps"
    return [bytes(item.entry) for item in found]


def log(client) -> list:
    return [entries.decode(data) for data in log_bytes(client)]


def check_grown(client, before: note.Checkpoint) -> note.Checkpoint:
    """The log is that of `before`, and more."""
    now = tree_head(client)
    assert now.size >= before.size, f"the log shrank from {before.size} to {now.size}"
    hashes = []
    if 0 < before.size < now.size:
        hashes = client.transport.call(
            "ledger", "GetConsistencyProof", protos.ledger.GetConsistencyProofRequest(
                first_size=before.size, second_size=now.size)).hashes
    if before.size:
        merkle.verify_consistency(before.size, now.size, before.root, now.root, hashes)
    return now


def check_log(client) -> list:
    """The signed root is that of the entries, no event is twice, and whatever an entry names as its
    authority is an entry, too. Returns the entries."""
    head, data = tree_head(client), log_bytes(client)
    leaves = [merkle.leaf_hash(leaf) for leaf in data[:head.size]]
    assert merkle.root_of(leaves) == head.root, "the signed root is not that of the entries"
    found = [entries.decode(leaf) for leaf in data]
    events = [e.event_id for e in found]
    assert len(set(events)) == len(events), "an event is in the log twice"
    orphans = [(e.kind, e.subject) for e in found
               if e.authorised_by and e.authorised_by not in set(events)]
    assert not orphans, f"authorised by entries that are not in the log: {orphans}"
    # Of one model there is more than one way back, each with its version.
    counts = collections.Counter((e.kind, e.subject, e.fields.get("version"))
                                 for e in found if e.kind in ONCE)
    twice = [about for about, count in counts.items() if count > 1]
    assert not twice, f"more than one entry: {twice}"
    return found


def check_money(world) -> None:
    """Every balance is what the log's transfers make it, and nothing comes from nowhere."""
    # Phase 1 sets aside and phase 3 frees: nothing moves.
    transfers = [e for e in log(world.founder)
                 if e.kind == "TRANSFER_POSTED" and e.fields.get("phase") not in (1, 3)]
    balances = collections.Counter()
    for entry in transfers:
        balances[entry.id("debit_account")] -= entry.fields["amount"]
        balances[entry.id("credit_account")] += entry.fields["amount"]
    assert sum(balances.values()) == 0
    shown = [world.pool().account_id]
    for member in world.members:
        shown += [a.account_id for a in world.principal(member).admin.accounts()]
    for account in shown:
        assert world.balance(account) == balances[account], account


def check_epoch(world, epoch) -> list:
    """An epoch's statements sum to R exactly, are in proportion to credit, and each is paid
    once, by the transfer it names. Returns the statements."""
    assert epoch.state == protos.payout.EPOCH_STATE_SETTLED, epoch
    found = world.statements(epoch.epoch_id)
    assert sum(s.payment_microtokens for s in found) == epoch.revenue_microtokens
    assert epoch.paid_microtokens == epoch.revenue_microtokens
    assert sum(s.credit_nanonats for s in found) == epoch.credit_sum_nanonats
    posted = {e.subject: e for e in log(world.founder) if e.kind == "TRANSFER_POSTED"}
    for s in found:
        exact = epoch.revenue_microtokens * s.credit_nanonats / epoch.credit_sum_nanonats
        assert abs(s.payment_microtokens - exact) < 1, s
        assert sum(line.credit_nanonats for line in s.lines) == s.credit_nanonats
        if not s.payment_microtokens:
            assert not s.transfer_id and not s.paid
            continue
        assert s.paid
        transfer = posted[s.transfer_id]
        assert transfer.fields["amount"] == s.payment_microtokens
        assert transfer.id("credit_account") == s.account_id
        assert transfer.authorised_by == s.entry.event_id
    rewards = [e for e in posted.values()
               if e.authorised_by in {s.entry.event_id for s in found}]
    assert len(rewards) == sum(1 for s in found if s.payment_microtokens), "something is paid twice"
    return found


def check_round(world, round_) -> None:
    """What is applied is base plus the weighted effective updates of those that the evidence names,
    bit for bit (I2); no refused update is among them or credited (I1)."""
    if round_.state != protos.attribution.ROUND_STATE_CLOSED:
        assert round_.state == protos.attribution.ROUND_STATE_ABANDONED
        assert not [c for c in world.founder.cooperative().credits(round_.round_id, "")]
        return
    updates = {u.update_id: u for u in world.updates(round_)}
    states = {i: explain.state_name(u) for i, u in updates.items()}
    assert set(states.values()) <= {"APPLIED", "NOT_APPLIED", "REJECTED", "EXPIRED", "SETTLED"}
    evidence = world.founder.transport.call(
        "attribution", "GetEvidence",
        protos.attribution.GetEvidenceRequest(round_id=round_.round_id))
    assert hashlib.sha256(evidence.body).hexdigest() == evidence.sha256
    body = json.loads(evidence.body)
    named = [u["update_id"] for u in body["updates"]]
    credited = {c.update_id: c for c in world.founder.cooperative().credits(round_.round_id, "")}
    assert set(credited) == set(named)
    for update_id, state in states.items():
        assert (update_id in named) == (state not in ("REJECTED", "EXPIRED")), (update_id, state)
    applied = [i for bit, i in enumerate(named) if int(body["applied_mask"]) >> bit & 1]
    assert {i for i in named if credited[i].applied} == set(applied)
    assert round_.applied == len(applied) and round_.admitted == len(named)
    grid = world.founder.cooperative().checkpoint(round_.base_sha256)
    total = {name: np.rint(value.astype(np.float64) * 2**20).astype(np.int64)
             for name, value in grid.items()}
    shares = body.get("aggregation", {}).get("shares")
    for update_id in applied:
        effective = effective_update(world, updates[update_id])
        by, whole = (shares[named.index(update_id)], 2**30) if shares else (1, round_.lineages)
        for name, value in effective.items():
            # rint rounds halves to even, as the rule does.
            total[name] += np.rint(value.astype(np.int64) * by / whole).astype(np.int64)
    limit = 2**23 - 1
    after = world.founder.cooperative().checkpoint(round_.next_sha256)
    for name, value in total.items():
        expected = (value.clip(-limit, limit) / 2**20).astype(np.float32)
        assert np.array_equal(after[name], expected), f"{name} is not what was evaluated"


def effective_update(world, update) -> dict:
    """An effective update by name, as its own principal sees it: integers in units of 2^-20."""
    member = next(m for m in world.members if m.principal_id == update.principal_id)
    return safetensors.load(uploads.download(world.principal(member).transport, "filter",
                                             update.effective_sha256))


def check_all(world, before=None) -> None:
    """Everything above for a world at rest."""
    check_log(world.founder)
    if before is not None:
        check_grown(world.founder, before)
    for round_ in world.rounds():
        check_round(world, round_)
    check_money(world)

