"""A tiny cooperative on a real server: what every system test starts from.

    with Server(folder) as server:               # rochdale-standalone and its PostgreSQL
        world = World(server, seed=1).found()    # a founder, five members with agents and data
        world.start_training(rounds=3)
        world.play(3)                            # until round 3 has ended
        epoch = world.settle(1, 3, revenue=1_000_000_000)

Everything follows from the seed: keys, ids, rows, local training, and (by the server's secret,
which is written before its first start) the rows that settle a round. So two worlds of one seed
get the same credits, whatever happens to their servers.
"""

import dataclasses
import hashlib
import time
import uuid

import numpy as np

import rochdale
from rochdale import admin, modules, protos, rounds
from rochdale.keys import KeyPair
from standalone import Server

PLAY_SECONDS = 60.0
SETTLE_SECONDS = 30.0
LAYERS = (16, 8, 4)
MEMBERS = 5
SUPPLY = 10_000_000_000
PARAMETERS = {
    "round.close_early": True,
    "round.open_ms": 60_000,
    "round.commit_ms": 60_000,
    "round.reveal_ms": 60_000,
    "round.screen_ms": 60_000,
    "round.evaluate_ms": 60_000,
    "round.apply_ms": 60_000,
    "validation.rows_per_round": 200,
    # Members of so small a world are more alike than those of a large one; a copy still is not.
    "originality.r1_max_micro": 900_000,
    "originality.ev_max_micro": 985_000,
    "worker.rows_per_shard": 100,
    "worker.lease_ms": 1_500,  # the shard of a worker that was killed is free after so long
}
FLOOR = [admin.rule("integrity", "INTEGRITY"), admin.rule("authority", "AUTHORITY"),
         admin.rule("magnitude", "MAGNITUDE"), admin.rule("originality", "ORIGINALITY")]
_STATE = protos.attribution.RoundState
CLOSED, ABANDONED = rounds.CLOSED, rounds.ABANDONED


# ---- What the cooperative learns ----


class Problem:
    """Four classes of Gaussian points in 16 dimensions, as bytes, and an MLP. test_networks.py has
    others: a World needs `model`, `validation_rows`, `member_rows` and (to play) `train`."""

    model = {"layer_sizes": LAYERS}  # of admin.create_model

    def __init__(self, seed: int):
        self._seed = seed
        rng = np.random.default_rng((seed, 0))
        self._centres = rng.uniform(60, 196, (LAYERS[-1], LAYERS[0]))

    def rows(self, count: int, draw: int, weights=None):
        """(inputs U8 [count, 16], labels U8 [count]); `weights`: how often each class comes."""
        rng = np.random.default_rng((self._seed, 1, draw))
        labels = rng.choice(LAYERS[-1], count, p=weights)
        inputs = self._centres[labels] + rng.normal(0, 48, (count, LAYERS[0]))
        return inputs.clip(0, 255).astype(np.uint8), labels.astype(np.uint8)

    def validation_rows(self):
        return self.rows(600, 1)

    def member_rows(self, index: int):
        # The first four have mostly one class each: members with the same data would be taken for
        # copies of one another.
        weights = np.full(LAYERS[-1], 1 / LAYERS[-1])
        if index < LAYERS[-1]:
            weights = weights * 0.6
            weights[index] += 0.4
        return self.rows(60, 100 + index, weights)

    def train(self, base: dict, rows, seed) -> dict:
        """Parameters after local training on a member's rows: arrays named as the model's."""
        return train(base, *rows, seed)


def train(base: dict, inputs, labels, seed, epochs: int = 2, rate: float = 0.2) -> dict:
    """Parameters after a little SGD on an MLP of 16-8-4, in numpy: arrays named as the model's."""
    rng = np.random.default_rng(seed)
    p = {name: value.astype(np.float64) for name, value in base.items()}
    x_all, y_all = inputs.astype(np.float64) / 256, np.eye(LAYERS[-1])[labels]
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(labels)), max(1, len(labels) // 10)):
            x, y = x_all[batch], y_all[batch]
            before = x @ p["0.weight"].T + p["0.bias"]
            hidden = np.maximum(before, 0)
            logits = hidden @ p["2.weight"].T + p["2.bias"]
            chance = np.exp(logits - logits.max(1, keepdims=True))
            d_logits = (chance / chance.sum(1, keepdims=True) - y) / len(batch)
            d_before = (d_logits @ p["2.weight"]) * (before > 0)
            p["2.weight"] -= rate * d_logits.T @ hidden
            p["2.bias"] -= rate * d_logits.sum(0)
            p["0.weight"] -= rate * d_before.T @ x
            p["0.bias"] -= rate * d_before.sum(0)
    return {name: value.astype(np.float32) for name, value in p.items()}


def loss(parameters: dict, inputs, labels) -> float:
    """Mean loss in nats."""
    hidden = np.maximum(inputs / 256 @ parameters["0.weight"].T + parameters["0.bias"], 0)
    logits = hidden @ parameters["2.weight"].T + parameters["2.bias"]
    top = logits.max(1)
    total = np.log(np.exp(logits - top[:, None]).sum(1)) + top
    return float((total - logits[np.arange(len(labels)), labels]).mean())


# ---- Who takes part ----


@dataclasses.dataclass
class Member:
    """A principal with its agent, its account and its rows."""
    index: int
    key: KeyPair
    agent_key: KeyPair
    principal_id: str
    agent_id: str
    account_id: str
    rows: tuple
    copies: "Member | None" = None  # hands in this member's update with a little noise


class World:
    """One cooperative, its founder and its members, with the keys of all of them.

    members     how many; `copier`: the last of them copies the first
    parameters  on top of PARAMETERS
    floor       rules on top of FLOOR
    funder      the world of this server that created the token supply, where this one comes later
    module      the bytes of a TorchScript module, the model instead of the built-in one
    problem     what is learned, by which model
    """

    def __init__(self, server: Server, seed: int = 1, members: int = MEMBERS, copier: bool = False,
                 parameters=None, floor=(), funder: "World | None" = None, module: bytes = b"",
                 problem: "Problem | None" = None):
        self.server, self.seed, self.slug = server, seed, f"coop-{seed}"
        self.parameters = {**PARAMETERS, **(parameters or {})}
        self.floor = [*FLOOR, *floor]
        self.cooperative_id, self.pool_id = self.id("cooperative"), self.id("pool")
        self.problem, self._funder, self._module = problem or Problem(seed), funder, module
        self.founder_key, self.founder_id = self.key("founder"), self.id("founder")
        self.members = [self._member(i) for i in range(members)]
        if copier:
            self.members[-1].copies = self.members[0]
        self._clients, self._clients_start = {}, -1
        self._deltas, self.update_ids = {}, {}  # by (round number, member's index)
        self._revealed = set()

    # Everything follows from the seed.

    def _bytes(self, *what) -> bytes:
        return hashlib.sha256("/".join(map(str, (self.seed, *what))).encode()).digest()

    def key(self, *what) -> KeyPair:
        return KeyPair(self._bytes("key", *what))

    def id(self, *what) -> str:
        return str(uuid.UUID(bytes=self._bytes("id", *what)[:16], version=4))

    def _member(self, index: int) -> Member:
        return Member(index, self.key("member", index), self.key("agent", index),
                      self.id("member", index), self.id("agent", index), self.id("account", index),
                      self.problem.member_rows(index))

    # ---- Connections ----

    def connect(self, key=None, identity=None, **options):
        """A new client of this cooperative; the caller closes it."""
        return rochdale.connect(self.server.target, key=key, identity=identity,
                                cooperative=self.slug, log_key=self.server.log_key, **options)

    def _client(self, key, identity):
        if self._clients_start != self.server.starts:
            # A channel whose server went away would wait before it tries again.
            self.close()
            self._clients_start = self.server.starts
        if identity not in self._clients:
            client = self._clients[identity] = self.connect(
                key, identity, state_dir=self.server.data_dir.parent / f"agents-{self.seed}")
            # The SDK waits long enough for a server to be started again; here that is our part.
            client.transport._sleep = lambda seconds: time.sleep(min(seconds, 0.02))
        return self._clients[identity]

    @property
    def founder(self):
        return self._client(self.founder_key, f"principal:{self.founder_id}")

    def principal(self, member: Member):
        return self._client(member.key, f"principal:{member.principal_id}")

    def agent(self, member: Member):
        return self._client(member.agent_key, f"agent:{member.agent_id}")

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients = {}

    # ---- Founding ----

    def found(self) -> "World":
        self.found_cooperative()
        self._create_model(self.founder.admin)
        self.founder.admin.seal_validation_pool(*self.problem.validation_rows())
        self.founder.admin.create_pool(pool_id=self.pool_id)
        for member in self.members:
            self.join(member)
        return self

    def found_cooperative(self) -> None:
        """The founder and the cooperative alone, without model, rows and members."""
        with self.connect(self.founder_key) as client:
            client.admin.register_principal("Founder", principal_id=self.founder_id)
        pools = [] if self._funder else [admin.pool("revenue-source", SUPPLY, self.founder_key)]
        self.founder.admin.found_cooperative(
            "Test cooperative", self.slug, cooperative_id=self.cooperative_id,
            parameters=self.parameters, floor=self.floor, pools=pools)
        self.attest(self.founder_id, 3)  # it pays out of what the genesis gave it

    def _create_model(self, acts) -> None:
        if not self._module:
            acts.create_model(init_seed=self.seed, **self.problem.model)
            return
        acts.register_module(self._module)
        acts.create_model(torchscript=modules.describe(self._module, inputs=LAYERS[0],
                                                       classes=LAYERS[-1]))

    def join(self, member: Member) -> None:
        with self.connect(member.key) as client:
            client.admin.register_principal(f"Member {member.index}",
                                            principal_id=member.principal_id)
        acts = self.principal(member).admin
        acts.register_agent(member.agent_key, "Agent", agent_id=member.agent_id)
        acts.request_membership()
        acts.consent()
        acts.grant_mandate(member.agent_id, consents_to_publication=True,
                           mandate_id=self.id("mandate", member.index))
        acts.open_account(account_id=member.account_id)
        acts.set_profile()
        self.attest(member.principal_id, 1)

    def attest(self, principal_id: str, level: int) -> None:
        """A principal's KYC level, by the founder of the first cooperative of the server."""
        (self._funder or self).founder.admin.attest_kyc(principal_id, level)

    def start_training(self, rounds: int = 1):
        return self.founder.admin.start_training(rounds)

    # ---- Rounds ----

    def newest(self):
        """The newest round, or None before training has started."""
        try:
            return self.founder.cooperative().current_round()
        except rochdale.errors.NotFound:
            return None

    def updates(self, round_) -> list:
        return self.founder.cooperative().updates(round_.round_id)

    def delta(self, member: Member, task) -> dict:
        """What the member's local training changes in this round: the same each time."""
        if member.copies is not None:
            rng = np.random.default_rng((self.seed, 3, task.number))
            return {name: (value + 0.02 * np.abs(value).mean() * rng.standard_normal(value.shape)
                           ).astype(np.float32)
                    for name, value in self.delta(member.copies, task).items()}
        known = self._deltas.get((task.number, member.index))
        if known is None:
            after = self.problem.train(task.base, member.rows,
                                       (self.seed, 2, task.number, member.index))
            known = {name: after[name] - task.base[name] for name in after}
            self._deltas[task.number, member.index] = known
        return known

    def commit(self, member: Member, round_, delta=None) -> str:
        """Commits to the member's update and uploads it. Repeating it is harmless."""
        task = rounds.Task(self.agent(member).cooperative(), round_)
        update = task.submit(delta=self.delta(member, task) if delta is None else delta,
                             sample_count=len(member.rows[1]), reveal=False)
        self.update_ids[round_.number, member.index] = update.id
        return update.id

    def reveal(self, member: Member, round_) -> None:
        client = self.agent(member)
        client.transport.call("filter", "RevealUpdate", rounds.reveal_request(
            client.key, self.update_ids[round_.number, member.index]))

    def act(self, round_) -> None:
        """Does what every member has left to do in this round, in the order of the members."""
        for member in self.members:
            step = (round_.number, member.index)
            if rounds.accepts_joining(round_, 0) and step not in self.update_ids:
                self.commit(member, round_)
            elif round_.state == rounds.REVEAL and step in self.update_ids and (
                    step not in self._revealed):
                self.reveal(member, round_)
                self._revealed.add(step)

    def play(self, number: int, timeout: float = PLAY_SECONDS):
        """Takes part for all members until round `number` has ended; returns that round."""
        deadline = time.monotonic() + timeout
        while True:
            round_ = self.newest()
            if round_ is not None:
                if (round_.number, round_.state in (CLOSED, ABANDONED)) >= (number, True):
                    return self.round(number)
                self.act(round_)
            assert time.monotonic() < deadline, (
                f"round {number} has not ended: {round_}\n{self.server.log_tail()}")
            time.sleep(0.01)

    def await_state(self, number: int, state: int, act: bool = False, timeout: float = 20.0):
        """Round `number` once it is in this state and prepared; `act`: on the way all members do
        what they have to. AssertionError if it gets past it unseen."""
        deadline = time.monotonic() + timeout
        while True:
            round_ = self.newest()
            if round_ is not None and round_.number == number:
                if round_.state == state and (state != rounds.OPEN or round_.deadline_us):
                    return round_
                assert round_.state < state or not round_.deadline_us, round_
                if act:
                    self.act(round_)
            assert time.monotonic() < deadline, f"round {number} is not in state {state}: {round_}"
            time.sleep(0.005)

    def rounds(self) -> list:
        return self.founder.cooperative().rounds()

    def round(self, number: int):
        return next(r for r in self.rounds() if r.number == number)

    def credits(self) -> dict:
        """{(round number, member's index): credit} of what was credited so far."""
        members = {m.principal_id: m.index for m in self.members}
        return {(c.round_number, members[c.principal_id]): c.credit_nanonats
                for c in self.founder.cooperative().credits(principal_id="")}

    # ---- Money ----

    def source_account(self) -> str:
        """The founder's account with what the genesis minted; it is funded in the background."""
        if self._funder:
            return self._funder.source_account()
        deadline = time.monotonic() + 10
        while True:
            for account in self.founder.admin.accounts():
                if account.label == "revenue-source" and account.balance_micro > 0:
                    return account.account_id
            assert time.monotonic() < deadline, "the genesis was not funded"
            time.sleep(0.05)

    def pool(self):
        return self.founder.transport.call("payout", "GetPool", protos.payout.GetPoolRequest(
            pool_id=self.pool_id)).pool

    def earn(self, revenue: int, what: str = "revenue") -> None:
        """Revenue comes in; the same `what` twice comes in once."""
        payer = (self._funder or self).founder.admin
        payer.transfer(self.source_account(), self.pool().account_id, revenue, kind="REVENUE",
                       transfer_id=self.id("transfer", what))

    def settle(self, first: int, last: int, revenue: int = 1_000_000_000, wait: bool = True):
        """Revenue, then an epoch over these rounds; goes on with what an earlier call began.
        Returns the epoch, settled where it waits."""
        epoch_id = self.id("epoch", first, last)
        try:
            epoch = self.epoch(epoch_id)
        except rochdale.errors.NotFound:
            self.earn(revenue, f"revenue {first}-{last}")
            epoch = self.founder.admin.close_epoch(self.pool_id, first, last, wait=False,
                                                   epoch_id=epoch_id)
        deadline = time.monotonic() + SETTLE_SECONDS
        while wait and epoch.state == protos.payout.EPOCH_STATE_SETTLING:
            assert time.monotonic() < deadline, f"not settled: {epoch}\n{self.server.log_tail()}"
            time.sleep(0.02)
            epoch = self.epoch(epoch_id)
        return epoch

    def epoch(self, epoch_id: str):
        return self.founder.transport.call("payout", "GetEpoch", protos.payout.GetEpochRequest(
            epoch_id=epoch_id)).epoch

    def statements(self, epoch_id: str) -> list:
        return list(self.founder.transport.pages(
            "payout", "ListStatements", protos.payout.ListStatementsRequest(epoch_id=epoch_id),
            "statements"))

    def earned(self, member: Member) -> int:
        """What the member has, in all of its accounts."""
        return sum(a.balance_micro for a in self.principal(member).admin.accounts())

    def balance(self, account_id: str) -> int:
        return self.founder.transport.call("ledger", "GetAccount", protos.ledger.GetAccountRequest(
            account_id=account_id)).account.balance_micro


def state_name(round_) -> str:
    return _STATE.Name(round_.state).removeprefix("ROUND_STATE_")
