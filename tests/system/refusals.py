"""Asking for what must be refused, and seeing that nothing came of it."""

import contextlib

import pytest

from rochdale import admin, documents, errors, protos

flt, gov, att = protos.filter, protos.governance, protos.attribution


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


def reveal(client, update_id):
    client.transport.call("filter", "RevealUpdate", flt.RevealUpdateRequest(
        request_id=admin.new_id(), update_id=update_id))


@contextlib.contextmanager
def refused_transfer(world, word):
    """As refused, for the words of TransferResult, which are no reasons of errors."""
    before = shown(world)
    with pytest.raises(errors.TransferRefused) as raised:
        yield
    assert raised.value.reason == word, raised.value
    assert shown(world) == before
