"""Accounts rebuilt from the leaves of a log (section 7 of docs/evidence.md).

    second_money.py TREE VERIFIER_KEY     a tlog-tiles directory; prints the accounts as JSON
    second_money.py --compare PROGRAM VERIFY [SEED ...]
        the same on the random ledgers that PROGRAM DIR SEED [LIE] writes, against the accounts that
        VERIFY (rochdale-verify) prints, and on ledgers with a lie, which both have to refuse
"""

import json
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from second_authority import (CLOSED, CLOSING, DAY_US, FROZEN, OPEN, PENDING, POST, SYSTEM, VOID,
                              Authority, check_order)
from second_basics import ZERO, Failed, Key, derived_id, need, read_log, uuid_text

MINT, REWARD = 12, 3
NO_FLOOR = -2**63
MOST = 2**63 - 1
YEAR_US = 31_536_000 * 10**6


class Account:
    def __init__(self, entry):
        f = entry.fields
        self.id, self.type, self.asset, self.floor = entry.subject, f[107], f[108], f[109]
        self.owner = f.get(10, entry.cooperative)
        self.status, self.version = OPEN, 1
        self.debits = self.credits = self.held = self.transfers = 0
        need(1 <= self.type <= SYSTEM and (self.type == SYSTEM) == (10 not in f), "its type")
        need(self.type == SYSTEM or self.floor != NO_FLOOR, "unlimited")

    @property
    def balance(self):
        return self.credits - self.debits

    def available(self):
        return None if self.floor == NO_FLOOR else self.balance - self.held - self.floor

    def shown(self):
        return {"account_id": uuid_text(self.id), "owner_id": uuid_text(self.owner),
                "type": self.type, "asset": self.asset,
                "floor": None if self.floor == NO_FLOOR else self.floor,
                "status": self.status, "version": self.version, "balance": self.balance,
                "held": self.held, "debits": self.debits, "credits": self.credits,
                "transfers": self.transfers}


class Moved:
    """A transfer, as later ones may rest on it."""

    def __init__(self, debit, credit, amount, kind, phase):
        self.debit, self.credit, self.amount = debit, credit, amount
        self.kind, self.phase = kind, phase
        self.corrected, self.corrects, self.open, self.expires = 0, False, phase == PENDING, 0
        self.opened, self.spender, self.mandate = 0, None, None


class Books:
    def __init__(self):
        self.accounts, self.transfers = {}, {}
        self.authority, self.spent = Authority(), {}
        self.chain = None  # time of a chain that must go on
        self.last_time = 0

    def apply(self, entry):
        if self.chain is not None:
            need(entry.kind == 402 and entry.time == self.chain, "a chain is broken")
        if entry.service == 4:
            need(entry.time >= self.last_time, "time goes back")
            # What restarts a log is later than what it goes on with.
            self.last_time = entry.time if entry.kind != 403 else 0
        if entry.kind == 401:
            need(entry.subject not in self.accounts, "opened twice")
            self.accounts[entry.subject] = Account(entry)
        elif entry.kind == 404:
            self.change(entry)
        elif entry.kind == 402:
            self.move(entry)
        elif entry.kind == 406:
            self.expire(entry)
        else:
            self.authority.apply(entry)

    def spend(self, moved, amount):
        """To what it counts against, on the day it was opened."""
        day = moved.opened // DAY_US
        keys = [(moved.spender, day), (moved.mandate, day), (moved.mandate, -1)]
        for key in [(who, moved.debit.asset, when) for who, when in keys if who]:
            self.spent[key] = self.spent.get(key, 0) + amount

    def change(self, entry):
        account, f = self.accounts[entry.subject], entry.fields
        need(f[31] == account.version + 1 and OPEN <= f[40] <= CLOSED, "its version or status")
        need(account.status != CLOSED, "closed for ever")
        need(f[40] in (account.status, OPEN, FROZEN, CLOSING) or account.status == CLOSING,
             "closed without closing")
        need(f[40] != CLOSED or account.balance == account.held == 0, "closed with money in it")
        floor = account.floor
        if 109 in f:
            need(f[109] != NO_FLOOR or account.floor == NO_FLOOR, "becomes unlimited")
            account.floor = f[109]
        if 3 in f:
            need(account.type != SYSTEM and
                 entry.authorised_by == self.authority.registered.get(account.owner) and
                 (account.status, f[40]) in ((OPEN, CLOSING), (CLOSING, CLOSED)) and
                 account.floor == floor, "account-order")
        account.status, account.version = f[40], f[31]

    def move(self, entry):
        f = entry.fields
        phase, amount, kind = f.get(114, 0), f[102], f[103]
        debit, credit = self.accounts[f[100]], self.accounts[f[101]]
        need(1 <= amount <= MOST and 1 <= kind <= 13 and 0 <= phase <= 3, "amount, kind, phase")
        need((114 in f) == (phase > 0) and (106 in f) == (phase in (POST, VOID)), "phase")
        need((34 in f) == (phase == PENDING), "expires")
        need(f.get(115, 1) == 1 and 1 <= f.get(113, 1) <= 65535, "linked, code")
        need(debit is not credit and debit.asset == credit.asset, "accounts")
        need(entry.subject not in self.transfers, "posted twice")
        derived = derived_id("ledger/transfer-posted", entry.subject)
        need(entry.event == entry.subject[:5] + derived[5:], "its event id")
        check_order(entry, debit, credit, self.authority, self.spent)
        moved = Moved(debit, credit, amount, kind, phase)
        if phase in (POST, VOID):
            self.end_hold(entry, moved)
        else:
            self.begin(entry, moved)
        need(f.get(124, debit.balance) == debit.balance and
             f.get(125, credit.balance) == credit.balance, "its balances")
        self.transfers[entry.subject] = moved
        self.chain = entry.time if 115 in f else None

    def begin(self, entry, moved):
        f, debit, credit, amount = entry.fields, moved.debit, moved.credit, moved.amount
        if 105 in f:
            of = self.transfers.get(f[105])
            need(of is not None and not of.corrects and of.phase in (0, POST), "corrects")
            need(of.debit is moved.credit and of.credit is debit, "corrects the other way")
            need(of.corrected + amount <= of.amount, "corrects too much")
        self.statuses(moved)
        available = debit.available()
        need(available is None or available >= amount, "floor: below it")
        if 116 in f:
            asked = f[116]
            need(1 <= asked <= MOST, "requested")
            need(amount == (asked if available is None else min(asked, available)), "balancing")
        if moved.phase == PENDING:
            need(0 < f[34] - entry.time <= YEAR_US and debit.held + amount <= MOST, "expires")
            moved.expires = f[34]
            debit.held += amount
        else:
            self.transfer(moved)
        moved.opened, moved.mandate = entry.time, f.get(12)
        if credit.type == SYSTEM or credit.owner != f.get(10):
            moved.spender = f.get(10)
        self.spend(moved, amount)
        if 105 in f:
            of.corrected += amount
            moved.corrects = True

    def end_hold(self, entry, moved):
        f = entry.fields
        hold = self.transfers.get(f[106])
        need(hold is not None and hold.phase == PENDING and hold.open, "no open hold")
        need((hold.debit, hold.credit, hold.kind) == (moved.debit, moved.credit, moved.kind),
             "not as its hold")
        need(116 not in f and 105 not in f, "what ends a hold")
        if moved.phase == VOID:
            need(moved.amount == hold.amount, "voids another amount")
        else:
            need(moved.amount <= hold.amount, "posts too much")
            self.statuses(moved)
            self.transfer(moved)
        self.free(hold, 0 if moved.phase == VOID else moved.amount)

    def free(self, hold, posted):
        hold.open = False
        hold.debit.held -= hold.amount
        self.spend(hold, posted - hold.amount)

    def expire(self, entry):
        f, hold = entry.fields, self.transfers.get(entry.subject)
        need(hold is not None and hold.phase == PENDING and hold.open, "no open hold")
        need((hold.debit.id, hold.credit.id, hold.amount) == (f[100], f[101], f[102]),
             "not as its hold")
        need(entry.time >= hold.expires, "early")
        self.free(hold, 0)

    @staticmethod
    def statuses(moved):
        need(moved.debit.status in (OPEN, CLOSING) and moved.credit.status == OPEN,
             "account-status: shut")

    @staticmethod
    def transfer(moved):
        debit, credit, amount = moved.debit, moved.credit, moved.amount
        need(debit.debits + amount <= MOST and credit.credits + amount <= MOST, "overflow")
        debit.debits += amount
        credit.credits += amount
        debit.transfers += 1
        credit.transfers += 1

    def close(self):
        need(self.chain is None, "the log ends within a chain")
        for asset in {a.asset for a in self.accounts.values()}:
            need(sum(a.balance for a in self.accounts.values() if a.asset == asset) == 0, asset)
        for account in self.accounts.values():
            holds = (t.amount for t in self.transfers.values()
                     if t.phase == PENDING and t.open and t.debit is account)
            need(account.held == sum(holds), "holds")

    def shown(self):
        return sorted((a.shown() for a in self.accounts.values()), key=lambda a: a["account_id"])


def check_author(log, entry, books):
    """Who allowed a transfer, which may be an entry after it."""
    f, author = entry.fields, log.events[entry.authorised_by]
    debit = books.accounts[f[100]]
    where = f"entry {entry.index}: "
    need((f[103] == REWARD) == (author.kind == 503), where + "rewards and statements")
    need(f[103] != MINT or author.kind == 101, where + "minted later")
    need(debit.floor != NO_FLOOR or f.get(114, 0) > PENDING or f[103] == MINT,
         where + "minted later")


def check_money(log):
    books = Books()
    for entry in log.entries:
        try:
            books.apply(entry)
        except (Failed, KeyError) as why:
            raise Failed(f"entry {entry.index}: {why}") from why
        if entry.kind == 402:
            check_author(log, entry, books)
    books.close()
    return books


class TreeFiles:
    """A tlog-tiles directory by itself, with the paths that it has in a bundle."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def read(self, path):
        return (self.folder / path.removeprefix("log/")).read_bytes()

    def names(self, folder):
        base = self.folder / folder.removeprefix("log/")
        return [str(p.relative_to(base)) for p in sorted(base.rglob("*")) if p.is_file()]


def rebuild(folder, key_text):
    from second_basics import Log
    key = Key(key_text)
    log = Log(read_log(TreeFiles(folder), key))
    need(log.entries[0].kind == 403 and log.entries[0].fields[19] == key.key, "LOG_STARTED")
    need(all(e.authorised_by == ZERO or e.authorised_by in log.events for e in log.entries),
         "who allowed it")
    return check_money(log).shown()


def write(program, folder, seed, lie):
    """What PROGRAM prints and where it wrote; by the first seed by which the lie is told."""
    for n in range(40):
        tree = f"{folder}/{n}"
        wrote = subprocess.run([program, tree, str(seed + 1000 * n), str(lie)], check=True,
                               capture_output=True, text=True).stdout.split()
        if lie == 0 or int(wrote[1]) >= 0:
            return wrote, tree
    raise Failed(f"seed {seed}: lie {lie} is never told")


def compare(program, verify, seeds):
    lies = int(subprocess.run([program, "--lies"], check=True, capture_output=True,
                              text=True).stdout)
    for seed, lie in [(s, 0) for s in seeds] + [(seeds[0] + n, n) for n in range(1, lies)]:
        with tempfile.TemporaryDirectory() as folder:
            wrote, folder = write(program, folder, seed, lie)
            key, lied_at, rule = wrote[0], int(wrote[1]), wrote[2].strip("-")
            ours = subprocess.run([verify, "replay", folder, "--json", "--origin-key", key],
                                  capture_output=True, text=True, check=False)
            lied = lie != 0 and lied_at >= 0
            need(ours.returncode == int(lied), f"seed {seed}, lie {lie}: {verify} differs")
            try:
                accounts = rebuild(folder, key)
            except (Failed, KeyError, struct.error) as why:
                need(lied and f"entry {lied_at}: {rule}" in str(why) or "repeat" in str(why),
                     f"seed {seed}, lie {lie} at {lied_at}: {why}")
                print(f"seed {seed}, lie {lie}: {why}")
                continue
            need(not lied, f"seed {seed}: lie {lie} was not found")
            need(accounts == json.loads(ours.stdout)["accounts"], f"seed {seed}: other accounts")
            print(f"seed {seed}: {len(accounts)} accounts are the same")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        if sys.argv[1] == "--compare":
            seeds = [int(s) for s in sys.argv[4:]] or [random.getrandbits(40) for _ in range(6)]
            compare(sys.argv[2], sys.argv[3], seeds)
        else:
            print(json.dumps(rebuild(sys.argv[1], sys.argv[2]), sort_keys=True))
    except Failed as why:
        sys.exit(f"FAILED: {why}")


if __name__ == "__main__":
    main()
