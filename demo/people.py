"""Who takes part: the founder, a customer, and the principals with their agents.

Each has a key of its own and signs what it does; nobody acts for anybody else.
"""

import concurrent.futures

import rochdale
from rochdale import admin as acts

from demo import data, settings as knobs

SLUG = "fashion"
SCENARIO = "default"
NANO = 1_000_000_000
SUPPLY_MICROTOKENS = 1_000_000_000 * 1_000_000
CUSTOMER_KYC_LEVEL = 2  # may send up to 10,000 tokens a day
CUSTOMER_MICROTOKENS = 5_000 * 1_000_000
# By how much an update may raise the loss on a member's own probe: small steps go up and down.
MAIN_CLASS_EPS_NANONATS = 20_000_000
BAG_EPS_NANONATS = 10_000_000
JOINING_AT_ONCE = 4
# Parts of the supply, in per cent; the customer's tokens come out of the treasury's.
POOLS = (("data-contributors", 40), ("training-nodes", 30), ("inference-nodes", 20),
         ("treasury", 5), ("team", 3), ("investors", 2))


class Person:
    """A principal: its key, and a client that acts as it."""

    def __init__(self, plan, target: str, log_key: str, slot: str, name: str):
        self.slot, self.name = slot, name
        self.id = plan.id(f"principal/{slot}")
        self.key = plan.key(slot)
        identity = f"principal:{self.id}" if plan.is_done(f"register/{slot}") else None
        self.client = rochdale.connect(target, key=self.key, identity=identity, cooperative=SLUG,
                                       log_key=log_key)

    @property
    def admin(self):
        return self.client.admin

    def register(self, plan, kind: str = "PERSON") -> None:
        plan.once(f"register/{self.slot}",
                  lambda: self.admin.register_principal(self.name, kind, principal_id=self.id))
        self.client.identify(f"principal:{self.id}")

    def close(self) -> None:
        self.client.close()


class Participant(Person):
    """A principal of the cooperative with its agent."""

    def __init__(self, plan, target: str, log_key: str, member):
        super().__init__(plan, target, log_key, f"member-{member.index}", member.name)
        self.member = member
        self.account_id = plan.id(f"account/{self.slot}")
        self.agent_id = plan.id(f"agent/{self.slot}")
        self.agent_key = plan.key(f"{self.slot}-agent")
        self.agent = rochdale.connect(target, key=self.agent_key,
                                      identity=f"agent:{self.agent_id}", cooperative=SLUG,
                                      log_key=log_key, state_dir=plan.folder / "agents" / self.slot)

    def join(self, plan, founder: Person, cooperative_id: str, shard, bag_probe) -> None:
        """From a key to a mandate: every step of a member's joining, signed by whom it concerns."""
        def step(name, act):
            plan.once(f"{name}/{self.slot}", act)

        self.register(plan)
        step("agent", lambda: self.admin.register_agent(
            self.agent_key, f"{self.name}'s agent", agent_id=self.agent_id))
        step("request", lambda: self.admin.request_membership(cooperative_id))
        step("approve", lambda: founder.admin.approve_membership(self.id, cooperative_id))
        step("consent", lambda: self.admin.consent(cooperative_id))
        step("account", lambda: self.admin.open_account("earnings", account_id=self.account_id))
        self._set_values(plan, step, cooperative_id, shard, bag_probe)
        step("mandate", lambda: self.admin.grant_mandate(
            self.agent_id, cooperative_id, seconds=7 * 24 * 3600, consents_to_publication=True,
            mandate_id=plan.id(f"mandate/{self.slot}")))

    def _set_values(self, plan, step, cooperative_id: str, shard, bag_probe) -> None:
        probes = self._probes(shard, bag_probe)
        for name, rows in probes.items():
            step(f"probe-{name}", lambda n=name, r=rows: self.admin.register_probe(
                n, r.inputs, r.labels, cooperative_id,
                probe_id=plan.id(f"probe/{self.slot}/{n}")))
        profile = profile_of(self.member, shard,
                             {name: plan.id(f"probe/{self.slot}/{name}") for name in probes})
        step("profile", lambda: self.admin.set_profile(cooperative_id, **profile))

    def _probes(self, shard, bag_probe) -> dict:
        if shard is None:
            # A copier has nothing of its own: any rows will do to state some value.
            return {"sample": bag_probe}
        probes = {"sample": shard.sample, "main": shard.main}
        return {**probes, "bags": bag_probe} if self.member.role == "value-breaking" else probes

    def close(self) -> None:
        self.agent.close()
        super().close()


def profile_of(member, shard, probe_ids: dict) -> dict:
    """The value profile a member signs, as arguments of Admin.set_profile."""
    if shard is None:
        criteria, constraints, focus = [(probe_ids["sample"], 10_000, NANO)], [], ["anything"]
    else:
        # One scale for both: unequal ones can turn the sign of a sum.
        criteria = [(probe_ids["sample"], 5_000, NANO), (probe_ids["main"], 5_000, NANO)]
        constraints = [acts.rule(
            "keep-my-main-class", "VALUE_EFFECT", "REFUSE", [probe_ids["main"]],
            MAIN_CLASS_EPS_NANONATS,
            explanation=f"What I know best ({data.CLASSES[shard.main_class]}) must not get worse.")]
        focus = [data.CLASSES[shard.main_class]]
    if "bags" in probe_ids:
        constraints.append(acts.rule(
            "bags-stay-bags", "VALUE_EFFECT", "REFUSE", [probe_ids["bags"]], BAG_EPS_NANONATS,
            explanation="The shared model must not unlearn bags."))
        focus.append("Bag")
    return {"preferences": [acts.preferences(SCENARIO, criteria)], "constraints": constraints,
            "focus": focus, "fit_threshold_micro": 0,
            "explanation": f"Values of {member.name}: improve on my own sample and main class."}


# ---- The founding ----


def floor(probe_ids: list) -> list:
    """Rules that bind every update, whatever anybody's profile says."""
    return [
        acts.rule("sound-update", "INTEGRITY", "REFUSE",
                  explanation="Tensors of the model, finite, from the round's checkpoint."),
        acts.rule("bounded-norm", "MAGNITUDE", "REFUSE",
                  explanation="No update is many times as large as the others."),
        acts.rule("mandate-in-force", "AUTHORITY", "REFUSE",
                  explanation="An agent acts under a mandate of a member."),
        acts.rule("own-work", "ORIGINALITY", "REFUSE",
                  explanation="Copies and mixtures of others' updates earn nothing."),
        acts.rule("no-class-is-unlearned", "VALUE_DIRECTION", "PROJECT", probe_ids,
                  bound_micro=200_000,
                  explanation="What pushes against one of the ten classes is taken out."),
    ]


def _pools(customer: Person) -> list:
    amounts = {name: SUPPLY_MICROTOKENS // 100 * part for name, part in POOLS}
    amounts["treasury"] -= CUSTOMER_MICROTOKENS
    pools = [acts.pool(name, amount) for name, amount in amounts.items()]
    return [*pools, acts.pool("customer", CUSTOMER_MICROTOKENS, customer.key)]


def found(plan, founder: Person, customer: Person, settings, world, say) -> str:
    """Founds the cooperative with its model, probes, validation pool and revenue pool. Returns its
    id."""
    cooperative_id = plan.id("cooperative")
    probe_ids = [plan.id(f"probe/cooperative/{c}") for c in range(len(data.CLASSES))]
    founder.register(plan)
    customer.register(plan, "ENTERPRISE")
    parameters = dict(knobs.PARAMETERS)
    plan.once("genesis", lambda: founder.admin.found_cooperative(
        "Fashion cooperative", SLUG, parameters=parameters, floor=floor(probe_ids),
        pools=_pools(customer), cooperative_id=cooperative_id))
    say("genesis signed by the founder's key; supply of 1,000,000,000 tokens minted")
    # Who sends tokens has shown who it is: the founders of a network's first cooperative attest it.
    plan.once("kyc/customer", lambda: founder.admin.attest_kyc(customer.id, CUSTOMER_KYC_LEVEL))
    plan.once("model", lambda: founder.admin.create_model(
        knobs.LAYER_SIZES, init_seed=settings.seed, cooperative=cooperative_id))
    for c, rows in enumerate(world.class_probes):
        plan.once(f"class-probe/{c}", lambda c=c, r=rows: founder.admin.register_probe(
            data.CLASSES[c], r.inputs, r.labels, cooperative_id, probe_id=probe_ids[c],
            of_cooperative=True))
    plan.once("pool", lambda: founder.admin.seal_validation_pool(
        world.pool.inputs, world.pool.labels, cooperative_id))
    say(f"model 784-256-128-10, ten class probes, {len(world.pool):,} validation rows sealed")
    plan.once("revenue-pool", lambda: founder.admin.create_pool(
        cooperative_id, pool_id=plan.id("revenue-pool")))
    return cooperative_id


def join_all(plan, participants: list, founder: Person, cooperative_id: str, world, say) -> None:
    """Everybody joins, several at once."""
    def join(participant):
        participant.join(plan, founder, cooperative_id,
                         world.shards.get(participant.member.index), world.bag_probe)
        say(f"{participant.name} joined: request, approval, consent; agent, values, mandate")

    with concurrent.futures.ThreadPoolExecutor(JOINING_AT_ONCE) as pool:
        for done in [pool.submit(join, p) for p in participants]:
            done.result()
