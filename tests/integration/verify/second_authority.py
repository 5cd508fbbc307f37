"""What is allowed at a place of the log, and whether a transfer's order was (sections 7.3 and 7.4
of docs/evidence.md)."""

from second_basics import ZERO, need

OPEN, FROZEN, CLOSING, CLOSED = 1, 2, 3, 4
PENDING, POST, VOID = 1, 2, 3
SYSTEM = 4
SPEND = 1 << 2
SERVICE_KINDS = {3, 7, 9, 10, 12}
LIMITS = {1: ("ledger.kyc_l1_daily_micro", 100_000_000),
          2: ("ledger.kyc_l2_daily_micro", 10_000_000_000)}
AMOUNT_MOST = 10**15
DAY_US = 86_400 * 10**6


class Authority:
    """What is allowed at a place of the log (7.4)."""

    def __init__(self):
        self.network = ZERO
        self.registered, self.levels, self.mandates = {}, {}, {}
        self.current, self.paused, self.left, self.values = {}, set(), set(), {}

    def apply(self, entry):
        kind, subject, f = entry.kind, entry.subject, entry.fields
        if kind == 101 and self.network == ZERO:
            self.network = subject
        elif kind == 102:
            self.registered.setdefault(subject, entry.event)
        elif kind == 114 and subject in self.registered:
            need(f[23] <= 3, "no such KYC level")
            self.levels[subject] = (f[23], f[34])
        elif kind == 112:
            self.paused.add(subject)
        elif kind == 113:
            self.paused.discard(subject)
        elif kind == 108:
            self.grant(entry)
        elif kind == 109 and subject in self.mandates:
            self.mandates[subject]["ended"] = True
        elif kind == 107:
            self.left.add((entry.cooperative, subject))
        elif kind == 106:
            self.left.discard((entry.cooperative, subject))
        elif kind == 110 and entry.cooperative == self.network and f[32].startswith("ledger."):
            self.values[f[32]] = f[33]

    def grant(self, entry):
        f = entry.fields
        where = (f[11], entry.cooperative)
        if where in self.current:
            self.mandates[self.current[where]]["ended"] = True
        if entry.subject in self.mandates:
            return
        to = f.get(119, b"")
        self.mandates[entry.subject] = {
            "event": entry.event, "cooperative": entry.cooperative, "principal": f[10],
            "agent": f[11], "actions": f.get(22, 0), "from": f.get(24, 0), "until": f[34],
            "day": f.get(117, 0), "total": f.get(118, 0), "ended": False,
            "to": {to[i:i + 16] for i in range(0, len(to) - 15, 16)}}
        self.current[where] = entry.subject

    def level(self, principal, time):
        level, until = self.levels.get(principal, (0, 0))
        return level if time < until else 0

    def limit(self, level):
        name, otherwise = LIMITS[level]
        text = self.values.get(name, "")
        good = text.isascii() and text.isdigit() and str(int(text)) == text
        return int(text) if good and int(text) <= AMOUNT_MOST else otherwise


def check_order(entry, debit, credit, authority, spent):
    """Whether who ordered a transfer might do so, where it stands (7.3)."""
    f = entry.fields
    principal, agent, phase = f.get(10), f.get(11), f.get(114, 0)
    if principal is None:
        need(11 not in f and 12 not in f, "owner: an agent of nobody")
        need(debit.type == SYSTEM or (phase == VOID and credit.type == SYSTEM), "owner: a service")
        return

    def owns(account):
        return account.type != SYSTEM and account.owner == principal

    need(principal in authority.registered, "registered")
    converts = (f.get(1) == "rochdale.ledger.v1.ConversionOrder" and phase == 0 and
                debit.type == SYSTEM and debit.owner == authority.network and owns(credit))
    if converts or (phase == VOID and agent is None and owns(credit)):
        need(12 not in f, "owner: no mandate is needed")
    else:
        need(owns(debit), "owner: not of the owner")
        need(f[103] not in SERVICE_KINDS, "service-kind")
        need((agent is None) == (12 not in f), "mandate: an agent has one")
    mandate = None
    if 12 in f:
        need(debit.asset == "token", "mandate-asset")
        mandate = authority.mandates.get(f[12])
        need(mandate is not None and mandate["principal"] == principal and
             mandate["agent"] == agent and mandate["actions"] & SPEND != 0, "mandate")
        need(not mandate["ended"] and
             (mandate["cooperative"], principal) not in authority.left, "mandate-ended")
        need(mandate["from"] <= entry.time < mandate["until"], "mandate-window")
        need(not mandate["to"] or credit.id in mandate["to"], "mandate-counterparty")
        need(agent not in authority.paused, "agent-paused")
    need(entry.authorised_by == (mandate["event"] if mandate else authority.registered[principal]),
         "allowed-by")
    if phase in (POST, VOID):
        return
    day, amount = entry.time // DAY_US, f[102]
    level = authority.level(principal, entry.time)
    need(level > 0, "kyc-level")
    if not owns(credit) and level < 3:
        need(spent.get((principal, debit.asset, day), 0) + amount <= authority.limit(level),
             "kyc-limit")
    if mandate:
        need(spent.get((f[12], debit.asset, day), 0) + amount <= mandate["day"],
             "mandate-budget-day")
        need(spent.get((f[12], debit.asset, -1), 0) + amount <= mandate["total"],
             "mandate-budget-total")
