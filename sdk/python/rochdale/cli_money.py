"""The `rochdale` command's part about money: accounts, payments, holds, conversion. Amounts are in
whole units ("1.5"), exactly; times are RFC 3339 ("2026-03-01T00:00:00Z")."""

import datetime

from rochdale import money
from rochdale.protos import ledger as led


def instant_us(text: str) -> int:
    """Unix microseconds. ValueError where it is no time, or one without a zone."""
    when = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if when.tzinfo is None:
        raise ValueError(f"{text} needs a zone, for example Z")
    since = when - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1)


def time_text(time_us: int) -> str:
    when = datetime.datetime.fromtimestamp(time_us // 1_000_000, datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(account) -> str:
    return led.AccountStatus.Name(account.status).removeprefix("ACCOUNT_STATUS_")


def _kind(transfer) -> str:
    word = led.TransferKind.Name(transfer.kind).removeprefix("TRANSFER_KIND_")
    phase = led.TransferPhase.Name(transfer.phase).removeprefix("TRANSFER_PHASE_")
    return word if phase == "UNSPECIFIED" else f"{word} {phase}"


def add_commands(top, command, family, connect, show, table, as_dict) -> None:
    """Adds them to the command line (see cli.parser)."""

    def outcome(arguments, found, text):
        show(arguments, as_dict(found), f"{text}  {money.units(found.amount_micro)}  "
             f"transfer {found.transfer_id}  log {found.log_index}")

    def account_list(arguments):
        with connect(arguments) as client:
            accounts = client.money.accounts()
        rows = [["account", "label", "asset", "balance", "held", "status"]]
        rows += [[a.account_id, a.label, a.asset, money.units(a.balance_micro),
                  money.units(a.held_micro), _status(a)] for a in accounts]
        show(arguments, [as_dict(a) for a in accounts], table(rows))

    def account_open(arguments):
        with connect(arguments) as client:
            account = client.money.open_account(arguments.label, asset=arguments.asset)
        show(arguments, as_dict(account), f"opened {account.account_id}")

    def account_show(arguments):
        at = instant_us(arguments.at) if arguments.at else 0
        since = instant_us(arguments.since) if arguments.since else 0
        with connect(arguments) as client:
            account = client.money.account(arguments.account)
            found = client.money.balance(arguments.account, at, since)
        show(arguments, {"account": as_dict(account), "balance": as_dict(found)}, "\n".join([
            f"account  {account.account_id}  {account.label}  {_status(account)}",
            f"balance  {money.units(found.balance.balance_micro)} {account.asset}",
            f"held     {money.units(found.balance.held_micro)}",
            f"in       {money.units(found.period_credits_micro)}",
            f"out      {money.units(found.period_debits_micro)}",
            f"moves    {found.period_transfer_count}"]))

    def account_history(arguments):
        rows = [["time", "kind", "amount", "from", "to", "reference", "transfer"]]
        found = []
        with connect(arguments) as client:
            for transfer in client.money.history(arguments.account):
                if len(found) == arguments.limit:
                    break
                found.append(as_dict(transfer))
                rows.append([time_text(transfer.posted_time_us), _kind(transfer),
                             money.units(transfer.amount_micro), transfer.debit_account_id,
                             transfer.credit_account_id, transfer.reference,
                             transfer.transfer_id])
        show(arguments, found, table(rows))

    def account_close(arguments):
        with connect(arguments) as client:
            account = client.money.close_account(arguments.account, arguments.closing)
        show(arguments, as_dict(account), f"{account.account_id} is {_status(account)}")

    def pay(arguments):
        options = {"kind": arguments.kind.upper(), "reference": arguments.reference,
                   "balancing": arguments.at_most, "transfer_id": arguments.transfer_id}
        amount = money.micro(arguments.amount)
        with connect(arguments) as client:
            if arguments.hold:
                found = client.money.hold(arguments.debit, arguments.credit, amount,
                                          arguments.hold, **options)
            else:
                found = client.money.transfer(arguments.debit, arguments.credit, amount, **options)
        outcome(arguments, found, "held" if arguments.hold else "paid")

    def hold_list(arguments):
        with connect(arguments) as client:
            holds = client.money.holds(arguments.account)
        rows = [["hold", "amount", "to", "expires", "reference"]]
        rows += [[h.transfer.transfer_id, money.units(h.transfer.amount_micro),
                  h.transfer.credit_account_id, time_text(h.transfer.expires_time_us),
                  h.transfer.reference] for h in holds]
        show(arguments, [as_dict(h) for h in holds], table(rows))

    def hold_show(arguments):
        with connect(arguments) as client:
            found = client.money.get_hold(arguments.hold)
        state = led.HoldState.Name(found.state).removeprefix("HOLD_STATE_")
        until = time_text(found.transfer.expires_time_us)
        show(arguments, as_dict(found),
             f"{state}  {money.units(found.transfer.amount_micro)}, posted "
             f"{money.units(found.posted_micro)}, until {until}")

    def hold_post(arguments):
        amount = money.micro(arguments.amount) if arguments.amount else 0
        with connect(arguments) as client:
            found = client.money.post_hold(arguments.hold, amount)
        outcome(arguments, found, "posted")

    def hold_void(arguments):
        with connect(arguments) as client:
            found = client.money.void_hold(arguments.hold)
        outcome(arguments, found, "voided")

    def refund(arguments):
        amount = money.micro(arguments.amount) if arguments.amount else 0
        with connect(arguments) as client:
            found = client.money.correct(arguments.transfer, amount, arguments.reference)
        outcome(arguments, found, "given back")

    def convert(arguments):
        with connect(arguments) as client:
            given, received = client.money.convert(
                arguments.debit, arguments.credit, money.micro(arguments.amount),
                money.micro(arguments.receive_min))
        show(arguments, {"given": as_dict(given), "received": as_dict(received)},
             f"gave {money.units(given.amount_micro)}, received "
             f"{money.units(received.amount_micro)}")

    account = family("account", "accounts of the ledger")
    command(account, "list", account_list, "your accounts with balances")
    opened = command(account, "open", account_open, "open an account")
    opened.add_argument("--label", default="")
    opened.add_argument("--asset", default="token")
    shown = command(account, "show", account_show, "what an account held, and what moved")
    shown.add_argument("account")
    shown.add_argument("--at", metavar="TIME", help="as of then; now")
    shown.add_argument("--since", metavar="TIME", help="movements from then on; its opening")
    history = command(account, "history", account_history, "an account's transfers, newest first")
    history.add_argument("account")
    history.add_argument("--limit", type=int, default=50, help="at most so many (%(default)s)")
    closed = command(account, "close", account_close, "close an empty account")
    closed.add_argument("account")
    closed.add_argument("--closing", action="store_true", help="only receive no more")

    paid = command(top, "pay", pay, "move or hold an amount; --transfer-id makes it repeatable")
    for name in ("debit", "credit"):
        paid.add_argument(name, metavar="FROM" if name == "debit" else "TO", help="account id")
    paid.add_argument("amount", help="in whole units, e.g. 1.5")
    paid.add_argument("--kind", default="spend", choices=["spend", "trade", "fee", "refund",
                                                          "revenue", "escrow"])
    paid.add_argument("--reference", default="")
    paid.add_argument("--hold", type=int, metavar="SECONDS", help="set it aside for so long only")
    paid.add_argument("--at-most", action="store_true", help="no more than is there")
    paid.add_argument("--transfer-id", help="id of a payment that may have been made already")
    given = command(top, "refund", refund, "give back a payment that you received")
    given.add_argument("transfer")
    given.add_argument("--amount", help="a part of it")
    given.add_argument("--reference", default="")

    hold = family("hold", "amounts set aside")
    command(hold, "list", hold_list, "open holds on an account").add_argument("account")
    command(hold, "show", hold_show, "what became of a hold").add_argument("hold")
    posted = command(hold, "post", hold_post, "move what a hold set aside")
    posted.add_argument("hold")
    posted.add_argument("--amount", help="a part of it; the rest is free again")
    command(hold, "void", hold_void, "end a hold").add_argument("hold")

    converted = command(top, "convert", convert, "exchange one asset of yours for another")
    for name in ("debit", "credit"):
        converted.add_argument(name, metavar="FROM" if name == "debit" else "TO",
                               help="account id")
    converted.add_argument("amount", help="what is given, in whole units")
    converted.add_argument("--receive-min", required=True, metavar="AMOUNT",
                           help="least that must be received")
