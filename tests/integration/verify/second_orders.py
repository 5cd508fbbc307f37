"""What was signed of a restarted log and of transfers is what the log says (sections 4.1, 7.3)."""

import re
from collections import namedtuple

from second_authority import PENDING, POST, VOID
from second_basics import ed25519, need, open_checkpoint, parse, root, sha, uuid_text

KINDS = ["UNSPECIFIED", "DEPOSIT", "TRADE", "REWARD", "SPEND", "FEE", "ESCROW", "RELEASE", "REFUND",
         "EMISSION", "SLASH", "BURN", "MINT", "REVENUE"]
PHASES = ["UNSPECIFIED", "PENDING", "POST", "VOID"]

Document = namedtuple("Document", "type body signed")


class Body:
    """Members of a proto3 JSON message, in either spelling of their names."""

    def __init__(self, message):
        self.members = {re.sub("[A-Z]", lambda c: "_" + c[0].lower(), name): value
                        for name, value in message.items()}

    def text(self, name):
        return self.members.get(name) or ""

    def number(self, name):
        return int(self.members.get(name) or 0)

    def true(self, name):
        return bool(self.members.get(name))

    def enum(self, name, prefix, names):
        value = self.members.get(name) or 0
        if isinstance(value, str) and value.startswith(prefix):
            return names.index(value[len(prefix):])
        return int(value)

    def list(self, name):
        return [Body(item) for item in self.members.get(name) or []]


class OldKey:
    """The key of the log that was restored, by which it signed its checkpoints."""

    def __init__(self, name, key):
        self.name, self.key = name, key
        self.id = sha(name.encode() + b"\n" + b"\1" + key)[:4]


def check_restarts(log, documents):
    started = [e.index for e in log.entries if e.kind == 403]
    restarts = 0
    while 121 in log.entries[restarts].fields:
        check_restart(log, log.entries[restarts], documents)
        restarts += 1
        need(restarts < len(log.entries), "a log that is only restarted")
    need(started == list(range(restarts + 1)), "LOG_STARTED elsewhere")
    return restarts


def check_restart(log, entry, documents):
    f, at, where = entry.fields, entry.index, f"entry {entry.index}: the restart's "
    kept, old = f[122], log.entries[at + 1]
    need(0 < kept < len(log.entries) - at, where + "size")
    need(root([e.data for e in log.entries[at + 1:at + 1 + kept]]) == f[123], where + "root")
    need(old.kind == 403 and old.fields[120] == f[121], where + "previous origin")
    founded = log.kind(101)
    need(3 in f and 126 in f, where + "signatures")
    need(founded and founded[0].fields[3] == f[3], where + "governor")
    if f[2] not in documents:
        return
    document = documents[f[2]]
    need(ed25519(f[19], document.signed, f[126]), where + "operator")
    body = Body(parse(document.body))
    need(document.type == "rochdale.ledger.v1.LogRestart" and
         (body.text("origin"), body.text("previous_origin"), body.number("previous_size"),
          body.text("previous_root").lower()) == (f[120], f[121], kept, f[123].hex()),
         where + "statement")
    note = body.text("last_checkpoint")
    if note:
        size, _ = open_checkpoint(note, OldKey(f[121], old.fields[19]))
        need(size > kept, where + "loss")


def check_orders(log, documents):
    """How many transfers were held against their order."""
    looked_at = 0
    for entry in log.kind(402):
        document = documents.get(entry.fields.get(2))
        if document is None:
            continue
        looked_at += 1
        body = Body(parse(document.body))
        where = f"entry {entry.index}: its order"
        if document.type == "rochdale.ledger.v1.ConversionOrder":
            need(is_leg(body, entry.fields), where)
            continue
        need(document.type == "rochdale.ledger.v1.TransferOrder", where)
        asked = [t for t in body.list("transfers")
                 if t.text("transfer_id").lower() == uuid_text(entry.subject)]
        need(asked and is_as_ordered(asked[0], entry), where)
    return looked_at


def is_leg(order, f):
    """One of the two transfers of a conversion."""
    gives = (order.text("from_account_id").lower() == uuid_text(f[100]) and
             order.number("amount_micro") == f[102])
    receives = (order.text("to_account_id").lower() == uuid_text(f[101]) and
                f[102] >= order.number("receive_min_micro"))
    return gives != receives


def is_as_ordered(asked, entry):
    f = entry.fields
    phase = f.get(114, 0)
    ends = phase in (POST, VOID)

    def same_id(name, tag, may_be_absent):
        text = asked.text(name).lower()
        return text == (uuid_text(f[tag]) if tag in f else "") or (may_be_absent and not text)

    kind = asked.enum("kind", "TRANSFER_KIND_", KINDS)
    amount = asked.number("amount_micro")
    if phase == VOID or (phase == POST and amount == 0):
        same_amount = True  # the hold's
    else:
        same_amount = (asked.true("balancing") == (116 in f) and amount == f.get(116, f[102]))
    return (same_id("debit_account_id", 100, ends) and same_id("credit_account_id", 101, ends) and
            (kind == f[103] or (ends and kind == 0)) and
            asked.enum("phase", "TRANSFER_PHASE_", PHASES) == phase and
            same_id("pending_id", 106, False) and same_id("corrects", 105, False) and
            asked.number("code") == f.get(113, 0) and
            asked.text("reference").encode() == f.get(104, b"") and
            asked.true("linked") == (f.get(115, 0) == 1) and same_amount and
            (phase != PENDING or asked.number("timeout_s") * 10**6 == f[34] - entry.time))
