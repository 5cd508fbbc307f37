"""The door to a cooperative: ten lines from connecting to the first credited update.

    with rochdale.connect("localhost:7443") as coop:
        task = coop.round("demo").join()
        model.load_state_dict(task.checkpoint()); train_locally(model)
        update = task.submit(model.state_dict())
        print(update.wait().explain())
        print(coop.statement().to_csv())
        assert coop.verify(update.receipt)
"""

import os
import threading
from pathlib import Path

from rochdale import errors, protos, receipts, safetensors, uploads
from rochdale.keys import KeyPair, load_key
from rochdale.rounds import RoundHandle, Update
from rochdale.statements import Statements
from rochdale.tokens import TokenSource, check_subject
from rochdale.transport import Transport

HOME_VARIABLE = "ROCHDALE_HOME"


def home() -> Path:
    """Where keys and identity live unless said otherwise."""
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".config" / "rochdale")


def configured(key, identity, environ=os.environ):
    """(KeyPair or None, identity or None) from arguments, else ROCHDALE_KEY and ROCHDALE_IDENTITY,
    else the files `key` and `identity` of home()."""
    if key is None:
        path = environ.get("ROCHDALE_KEY") or home() / "key"
        key = KeyPair.load(path) if Path(path).exists() else None
    else:
        key = load_key(key)
    if identity is None:
        identity = environ.get("ROCHDALE_IDENTITY")
    if identity is None and (home() / "identity").exists():
        identity = (home() / "identity").read_text(encoding="ascii").strip()
    return key, check_subject(identity) if identity else None


class Client:
    """A connection as one identity (or as nobody, for what is public). Thread-safe.

    target       "host:port", or a dict service -> "host:port" where services have their own
    key          KeyPair or path of a key file; ROCHDALE_KEY, then ~/.config/rochdale/key
    identity     "agent:<uuid>" or "principal:<uuid>"; ROCHDALE_IDENTITY, then the file identity
    cooperative  short name (slug) or id of the default cooperative; ROCHDALE_COOPERATIVE
    tls          rochdale.Tls for anything but this machine
    log_key      verifier key of the log, from outside (origin.vkey): pins what verify() trusts
    state_dir    folder that lets a restarted program go on with an update it had committed to
    """

    def __init__(self, target, key=None, identity=None, cooperative=None, tls=None, log_key=None,
                 state_dir=None):
        self.target = target
        self.key, self.identity = configured(key, identity)
        if self.identity and self.key is None:
            raise ValueError(f"the identity {self.identity} needs its key")
        tokens = TokenSource(self.key, self.identity) if self.identity else None
        self.transport = Transport(target, tokens, tls)
        self.log = receipts.LogVerifier(self.transport, log_key)
        self.state_dir = Path(state_dir) if state_dir else None
        self._default = cooperative or os.environ.get("ROCHDALE_COOPERATIVE")
        self._cooperatives: dict[str, Cooperative] = {}
        self._principal_id = ""
        self._money, self._money_of = None, None
        self._lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self.transport.close()

    def identify(self, identity: str) -> None:
        """From now on calls go out as this identity of the client's key (after registering it)."""
        if self.key is None:
            raise ValueError("an identity needs a key")
        self.identity = check_subject(identity)
        self._principal_id = ""
        self.transport.tokens = TokenSource(self.key, identity)

    @property
    def agent_id(self) -> str:
        """The caller's agent id; empty for a principal."""
        kind, _, identifier = (self.identity or "").partition(":")
        return identifier if kind == "agent" else ""

    @property
    def principal_id(self) -> str:
        """The caller's principal, asked of the registry where the caller is an agent."""
        kind, _, identifier = (self.identity or "").partition(":")
        if kind == "principal":
            return identifier
        if not self._principal_id and kind == "agent":
            self._principal_id = self.transport.call(
                "governance", "GetAgent",
                protos.governance.GetAgentRequest(agent_id=identifier)).agent.principal_id
        return self._principal_id

    @property
    def admin(self):
        """What principals and founders do: register, join, grant, found, pay."""
        from rochdale.admin import Admin
        return Admin(self)

    @property
    def money(self):
        """The caller's accounts, transfers and holds."""
        from rochdale.money import Money
        with self._lock:
            if self._money is None or self._money_of != self.identity:
                self._money, self._money_of = Money(self), self.identity
            return self._money

    def cooperatives(self) -> list:
        return list(self.transport.pages(
            "governance", "ListCooperatives", protos.governance.ListCooperativesRequest(),
            "cooperatives"))

    def cooperative(self, name: str | None = None) -> "Cooperative":
        """By short name or id; without one the default, or the only one there is."""
        name = name or self._default
        if name is None:
            found = self.cooperatives()
            if len(found) != 1:
                raise errors.NotFound(
                    f"there are {len(found)} cooperatives here, so one has to be named: "
                    + ", ".join(c.slug for c in found), code="NOT_FOUND")
            name = found[0].slug
        with self._lock:
            known = self._cooperatives.get(name)
        if known is None:
            request = protos.governance.GetCooperativeRequest()
            if len(name) == 36 and name.count("-") == 4:
                request.cooperative_id = name
            else:
                request.slug = name
            known = Cooperative(self, self.transport.call(
                "governance", "GetCooperative", request).cooperative)
        with self._lock:
            self._default = self._default or name
            return self._cooperatives.setdefault(name, known)

    def round(self, cooperative: str | None = None) -> RoundHandle:
        """The rounds of a cooperative, to join one; names the default cooperative from then on."""
        handle = self.cooperative(cooperative).round()
        if cooperative:
            self._default = cooperative
        return handle

    def update(self, update_id: str) -> Update:
        """An update by its id."""
        return Update.of(self, update_id)

    def statement(self) -> Statements:
        """The caller's statements, in every cooperative."""
        return Statements(self.transport.pages(
            "payout", "ListStatements", protos.payout.ListStatementsRequest(), "statements"))

    def credits(self) -> list:
        """The caller's credits in the default cooperative."""
        return self.cooperative().credits()

    def receipt(self, event_id: str, timeout: float = receipts.WAIT_SECONDS) -> receipts.Receipt:
        """The proof that an entry is in the log; waits while it is on its way there."""
        return self.log.fetch(event_id, timeout)

    def verify(self, receipt) -> receipts.Verification:
        """Checks a Receipt (or its text): entry, inclusion, signature, and that the log only grew
        since this client first looked. True in a condition exactly if all of it holds."""
        if isinstance(receipt, str):
            try:
                receipt = receipts.Receipt.from_text(receipt)
            except receipts.ReceiptError as error:
                return receipts.Verification(False, str(error), self.log.pinned)
        return self.log.verify(receipt)


class Cooperative:
    """One cooperative as the client's identity sees it."""

    def __init__(self, client: Client, info):
        self.client, self.info = client, info
        self.submitted_round = 0  # number of the last round this client submitted to
        self._cached_checkpoint = ("", b"")
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        return self.info.cooperative_id

    @property
    def slug(self) -> str:
        return self.info.slug

    def refresh(self):
        """Its rules and versions as they are now (governance.v1.Cooperative)."""
        self.info = self.client.transport.call(
            "governance", "GetCooperative",
            protos.governance.GetCooperativeRequest(cooperative_id=self.id)).cooperative
        return self.info

    def parameters(self) -> dict:
        """Governed parameters by name, as texts in the parameter's own unit."""
        response = self.client.transport.call(
            "governance", "GetParameters",
            protos.governance.GetParametersRequest(cooperative_id=self.id))
        return {p.name: p.value for p in response.parameters}

    def model_spec(self):
        """The architecture of its model (attribution.v1.ModelSpec); torch_models.build makes a
        PyTorch module of it. NotFound before founders have registered one."""
        return self.client.transport.call(
            "attribution", "GetModel",
            protos.attribution.GetModelRequest(cooperative_id=self.id)).model.spec

    def round(self) -> RoundHandle:
        return RoundHandle(self)

    def current_round(self):
        """The newest round (attribution.v1.Round). NotFound before training has started."""
        return self.client.transport.call(
            "attribution", "GetRound",
            protos.attribution.GetRoundRequest(cooperative_id=self.id)).round

    def get_round(self, round_id: str):
        return self.client.transport.call(
            "attribution", "GetRound", protos.attribution.GetRoundRequest(round_id=round_id)).round

    def rounds(self) -> list:
        return list(self.client.transport.pages(
            "attribution", "ListRounds",
            protos.attribution.ListRoundsRequest(cooperative_id=self.id), "rounds"))

    def updates(self, round_id: str) -> list:
        """Updates of a round in order of commitment (filter.v1.Update)."""
        return list(self.client.transport.pages(
            "filter", "ListUpdates", protos.filter.ListUpdatesRequest(round_id=round_id),
            "updates"))

    def checkpoint_bytes(self, sha256: str = "") -> bytes:
        """The bytes of a checkpoint, verified; the newest where no digest is given."""
        if not sha256:
            sha256 = self.client.transport.call(
                "attribution", "GetCheckpoint", protos.attribution.GetCheckpointRequest(
                    cooperative_id=self.id)).checkpoint.sha256
        with self._lock:
            known, data = self._cached_checkpoint
        if known != sha256:
            data = uploads.download(self.client.transport, "attribution", sha256)
            with self._lock:
                self._cached_checkpoint = (sha256, data)
        return data

    def checkpoint(self, sha256: str = "") -> dict:
        """A checkpoint's parameters as F32 numpy arrays by name."""
        return safetensors.load(self.checkpoint_bytes(sha256))

    def credits(self, round_id: str = "", principal_id: str | None = None) -> list:
        """Credits (attribution.v1.Credit): the caller's, or of another principal, or ("") of all
        that the caller may see."""
        if principal_id is None:
            principal_id = self.client.principal_id
        return list(self.client.transport.pages(
            "attribution", "ListCredits", protos.attribution.ListCreditsRequest(
                cooperative_id=self.id, round_id=round_id, principal_id=principal_id), "credits"))

    def statement(self) -> Statements:
        return self.client.statement()

    def verify(self, receipt) -> receipts.Verification:
        return self.client.verify(receipt)


def connect(target="localhost:7443", **options) -> Client:
    """A Client, to be used in a `with`; see there for the options."""
    return Client(target, **options)
