"""Accounts and transfers of the caller, who signs every order (client.money).

    me.money.transfer(mine, shop, money.micro("1.5"), reference="invoice 7")
    hold = me.money.hold(mine, shop, money.micro(20), seconds=3600)   # set aside for an hour
    me.money.post_hold(hold.transfer_id, money.micro(12))             # 12 move, 8 are free again
    me.money.submit(money.linked([                                    # both or none
        money.transfer(mine, shop, 3_000_000), money.transfer(mine, post, 500_000, kind="FEE")]))

Amounts are whole micro-units. An order that was signed may be sent again as it is: its transfers'
ids decide, and one that was posted is never posted twice.
"""

import decimal
import time
import uuid

from rochdale import documents, errors, protos

led = protos.ledger

MICRO = 1_000_000
AMOUNT_MAX = 2**63 - 1
LOGGED_SECONDS = 30.0
SUCCESS = ("POSTED", "EXISTS")


def new_id() -> str:
    return str(uuid.uuid4())


def micro(amount) -> int:
    """Micro-units of an amount in whole units, as text, int or Decimal ("1.5" -> 1500000).
    ValueError for floats, more than six decimals, and what is not above 0 or too large."""
    if isinstance(amount, float):
        raise ValueError("an amount is text, int or Decimal: floats are not exact")
    try:
        exact = decimal.Decimal(amount).scaleb(6)
    except (decimal.InvalidOperation, TypeError) as error:
        raise ValueError(f"{amount!r} is no amount") from error
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise ValueError(f"{amount} has more than six decimals")
    if not 1 <= exact <= AMOUNT_MAX:
        raise ValueError(f"{amount} is not between 0.000001 and {AMOUNT_MAX / MICRO:.6f}")
    return int(exact)


def units(amount_micro: int) -> str:
    """The other way round, for people: 1500000 -> "1.500000"."""
    whole, rest = divmod(abs(amount_micro), MICRO)
    return f"{'-' if amount_micro < 0 else ''}{whole}.{rest:06d}"


# ---- Transfers, unsigned ----


def transfer(debit_account_id: str, credit_account_id: str, amount_micro: int, kind: str = "SPEND",
             reference: str = "", code: int = 0, balancing: bool = False, corrects: str = "",
             transfer_id=None):
    """Moves at once. balancing: at most the amount, and no more than is there."""
    return led.Transfer(transfer_id=transfer_id or new_id(), debit_account_id=debit_account_id,
                        credit_account_id=credit_account_id, amount_micro=amount_micro,
                        kind="TRANSFER_KIND_" + kind, reference=reference, code=code,
                        balancing=balancing, corrects=corrects)


def hold(debit_account_id: str, credit_account_id: str, amount_micro: int, seconds: int,
         kind: str = "SPEND", reference: str = "", code: int = 0, balancing: bool = False,
         transfer_id=None):
    """Sets an amount aside until it is posted, voided, or `seconds` (1 to a year) have passed."""
    made = transfer(debit_account_id, credit_account_id, amount_micro, kind, reference, code,
                    balancing, transfer_id=transfer_id)
    made.phase, made.timeout_s = led.TRANSFER_PHASE_PENDING, seconds
    return made


def post(hold_id: str, amount_micro: int = 0, transfer_id=None):
    """Moves what a hold set aside, all of it (0) or a part; the rest is free again."""
    return led.Transfer(transfer_id=transfer_id or new_id(), phase="TRANSFER_PHASE_POST",
                        pending_id=hold_id, amount_micro=amount_micro)


def void(hold_id: str, transfer_id=None):
    """Ends a hold; nothing moves."""
    return led.Transfer(transfer_id=transfer_id or new_id(), phase="TRANSFER_PHASE_VOID",
                        pending_id=hold_id)


def linked(transfers) -> list:
    """The transfers as one chain: all are posted, or none."""
    chain = [led.Transfer.FromString(t.SerializeToString()) for t in transfers]
    for one in chain[:-1]:
        one.linked = True
    if chain:
        chain[-1].linked = False
    return chain


# ---- Outcomes ----


def word(outcome) -> str:
    """The result's word, "POSTED" or "INSUFFICIENT_FUNDS"."""
    return led.TransferResult.Name(outcome.result).removeprefix("TRANSFER_RESULT_")


def require(outcomes) -> list:
    """The outcomes, if every transfer stands; TransferRefused for the first that does not. In a
    chain that is the one the others failed with, not one that failed with it."""
    refused = [o for o in outcomes if word(o) not in SUCCESS]
    if not refused:
        return list(outcomes)
    first = next((o for o in refused if word(o) != "LINKED_FAILED"), refused[0])
    raise errors.TransferRefused(first.message or word(first).lower().replace("_", " "),
                                 reason=word(first), code="FAILED_PRECONDITION")


class Money:
    """The money of one principal, or what its agent may spend of it."""

    def __init__(self, client):
        if client.key is None:
            raise ValueError("whoever moves money signs it: connect with a key")
        self._client, self._transport = client, client.transport
        self._registered = False

    def sign(self, message):
        return documents.sign(self._client.key, message)

    def _call(self, method, request):
        request.request_id = new_id()
        return self._transport.call("ledger", method, request)

    def _wait_until_registered(self) -> None:
        """Accounts and transfers rest on the registration's log entry, which comes through an
        outbox a moment after the registration itself."""
        if self._registered:
            return
        entry = self._transport.call(
            "governance", "GetPrincipal", protos.governance.GetPrincipalRequest(
                principal_id=self._client.principal_id)).principal.entry
        self.wait_until_logged(entry.event_id)
        self._registered = True

    def wait_until_logged(self, event_id: str) -> None:
        """Until the entry, which is on its way through an outbox, is in the log. NotFound after 30
        seconds."""
        deadline = time.monotonic() + LOGGED_SECONDS
        while True:
            try:
                self._transport.call("ledger", "GetEntry", led.GetEntryRequest(event_id=event_id))
                return
            except errors.NotFound:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    # ---- Moving ----

    def order(self, transfers):
        """The transfers (at most 8,190, and 256 KiB) signed as one order, valid for 15 minutes."""
        return self.sign(led.TransferOrder(transfers=transfers,
                                           signed_time_us=documents.now_us()))

    def submit(self, transfers) -> list:
        """Signs and posts transfers; one TransferOutcome each, whatever came of it (see word() and
        require())."""
        self._wait_until_registered()
        return list(self._call("PostTransfers", led.PostTransfersRequest(
            order=self.order(transfers))).outcomes)

    def transfer(self, debit_account_id: str, credit_account_id: str, amount_micro: int, **options):
        """One transfer (see transfer() above). TransferRefused with the ledger's word where it is
        not posted. The outcome's transfer_id is the idempotency key, amount_micro what moved."""
        return require(self.submit([transfer(debit_account_id, credit_account_id, amount_micro,
                                             **options)]))[0]

    def hold(self, debit_account_id: str, credit_account_id: str, amount_micro: int, seconds: int,
             **options):
        """One hold; the outcome's transfer_id is what post_hold and void_hold take."""
        return require(self.submit([hold(debit_account_id, credit_account_id, amount_micro,
                                         seconds, **options)]))[0]

    def post_hold(self, hold_id: str, amount_micro: int = 0, transfer_id=None):
        return require(self.submit([post(hold_id, amount_micro, transfer_id)]))[0]

    def void_hold(self, hold_id: str, transfer_id=None):
        return require(self.submit([void(hold_id, transfer_id)]))[0]

    def linked(self, transfers) -> list:
        """Posts all of the transfers or none; TransferRefused with the reason of the one that
        failed."""
        return require(self.submit(linked(transfers)))

    def correct(self, transfer_id: str, amount_micro: int = 0, reference: str = "",
                correction_id=None):
        """Gives back what the caller received by a transfer, all of it (0) or a part, as a
        correction of it: all corrections together cannot exceed it."""
        found = self.get_transfer(transfer_id)
        return self.transfer(found.credit_account_id, found.debit_account_id,
                             amount_micro or found.amount_micro, kind="REFUND",
                             reference=reference, corrects=transfer_id, transfer_id=correction_id)

    def convert(self, from_account_id: str, to_account_id: str, amount_micro: int,
                receive_min_micro: int, conversion_id=None) -> list:
        """Exchanges one asset for another of the caller's, at the governed rate, for at least
        receive_min_micro. The outcomes of what was given and of what was received."""
        self._wait_until_registered()
        order = self.sign(led.ConversionOrder(
            conversion_id=conversion_id or new_id(), from_account_id=from_account_id,
            to_account_id=to_account_id, amount_micro=amount_micro,
            receive_min_micro=receive_min_micro, signed_time_us=documents.now_us()))
        return require(self._call("Convert", led.ConvertRequest(order=order)).outcomes)

    # ---- Accounts ----

    def open_account(self, label: str = "", kind: str = "PERSON", account_id=None,
                     asset: str = "token"):
        """Opens an account of this principal."""
        self._wait_until_registered()
        account = led.Account(account_id=account_id or new_id(),
                              owner_id=self._client.principal_id, type="ACCOUNT_TYPE_" + kind,
                              asset=asset, label=label)
        return self._call("OpenAccounts",
                          led.OpenAccountsRequest(accounts=[account])).accounts[0]

    def close_account(self, account_id: str, closing: bool = False):
        """Closes an account of this principal, in which nothing is and nothing is held; with
        `closing` it only receives no more. Returns the Account."""
        order = self.sign(led.AccountOrder(
            account_id=account_id, signed_time_us=documents.now_us(),
            status="ACCOUNT_STATUS_" + ("CLOSING" if closing else "CLOSED")))
        return self._call("ChangeAccount", led.ChangeAccountRequest(order=order)).account

    def account(self, account_id: str):
        return self._transport.call("ledger", "GetAccount",
                                    led.GetAccountRequest(account_id=account_id)).account

    def accounts(self, owner_id: str | None = None) -> list:
        return list(self._transport.pages(
            "ledger", "ListAccounts",
            led.ListAccountsRequest(owner_id=owner_id or self._client.principal_id), "accounts"))

    def balance(self, account_id: str, at_us: int = 0, since_us: int = 0):
        """What the account held at an instant (0: now), and what moved since another (0: its
        opening): GetBalanceResponse. Times are unix microseconds."""
        return self._transport.call("ledger", "GetBalance", led.GetBalanceRequest(
            account_id=account_id, at_time_us=at_us, since_time_us=since_us))

    def history(self, account_id: str):
        """Transfers of the account, newest first, as they are asked for."""
        return self._transport.pages("ledger", "ListTransfers",
                                     led.ListTransfersRequest(account_id=account_id), "transfers")

    def get_transfer(self, transfer_id: str):
        return self._transport.call("ledger", "GetTransfer",
                                    led.GetTransferRequest(transfer_id=transfer_id)).transfer

    def get_hold(self, transfer_id: str):
        """A hold with what became of it."""
        return self._transport.call("ledger", "GetHold",
                                    led.GetHoldRequest(transfer_id=transfer_id)).hold

    def holds(self, account_id: str) -> list:
        """Open holds on what the account has."""
        return list(self._transport.pages(
            "ledger", "ListHolds", led.ListHoldsRequest(account_id=account_id), "holds"))
