"""The knobs of the demo. Their text for people is the head of scripts/demo."""

import argparse
import dataclasses
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Who takes part, in the order in which they commit: the copier has to come last.
HONEST_NAMES = ("Amara", "Bruno", "Chen", "Dalia", "Emeka", "Farah", "Goran", "Hana", "Ines")
DISHONEST = (("Viktor", "value-breaking"), ("Lena", "label-flipper"), ("Kuno", "copier"))

LAYER_SIZES = (784, 256, 128, 10)
REVENUE_MICROTOKENS = 1_000 * 1_000_000
# The settings below were tuned on seeds 1 to 10 and then held on 20 others.
EPOCHS = 2
LEARNING_RATE = 0.1       # in the first round
LEARNING_RATE_DECAY = 0.15  # the rate of round n is that of the first / (1 + decay (n - 1))
BATCH_ROWS = 16
COPY_NOISE = 0.05
PARAMETERS = {
    "credit.preset": "hardened",
    "membership.join_policy": "sponsor",
    "round.close_early": True,
    "round.open_ms": 120_000,
    "round.commit_ms": 60_000,
    "round.reveal_ms": 60_000,
    "round.screen_ms": 60_000,
    "round.evaluate_ms": 120_000,
    "round.apply_ms": 60_000,
    "validation.rows_per_round": 2_000,
}


def learning_rate(round_number: int) -> float:
    """Smaller steps as the model gets better: large ones would go back and forth."""
    return LEARNING_RATE / (1 + LEARNING_RATE_DECAY * (round_number - 1))


@dataclasses.dataclass(frozen=True)
class Member:
    """One principal with its agent."""
    index: int
    name: str
    role: str  # honest, value-breaking, label-flipper or copier

    @property
    def has_shard(self) -> bool:
        return self.role != "copier"


@dataclasses.dataclass(frozen=True)
class Settings:
    agents: int = 8
    rounds: int = 10
    seed: int = 1
    port: int = 0
    out: Path = ROOT / "build" / "demo"
    data: Path | None = None
    keep_data: bool = False
    resume: bool = False
    programs: Path = ROOT / "build" / "release" / "bin"

    @property
    def members(self) -> list:
        honest = [(name, "honest") for name in HONEST_NAMES[:self.agents - len(DISHONEST)]]
        return [Member(i, *who) for i, who in enumerate([*honest, *DISHONEST])]

    def fits(self, other: dict) -> bool:
        """Whether a run that was begun with the settings in `other` is this one."""
        return all(other.get(name) == getattr(self, name) for name in ("agents", "rounds", "seed"))


def _number(low: int, high: int):
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {low} to {high}")
        return value
    parse.__name__ = "number"
    return parse


def parser() -> argparse.ArgumentParser:
    agents_max = len(HONEST_NAMES) + len(DISHONEST)
    p = argparse.ArgumentParser(prog="scripts/demo", add_help=False, allow_abbrev=False,
                                usage="scripts/demo [OPTION...] (see --help)")
    p.add_argument("--agents", type=_number(6, agents_max), default=Settings.agents)
    p.add_argument("--rounds", type=_number(1, 100), default=Settings.rounds)
    p.add_argument("--seed", type=_number(0, 2**31 - 1), default=Settings.seed)
    p.add_argument("--port", type=_number(0, 65535), default=Settings.port)
    p.add_argument("--out", type=Path, default=Settings.out)
    p.add_argument("--data", type=Path)
    p.add_argument("--keep-data", action="store_true")
    p.add_argument("--resume", action="store_true")
    p.add_argument("--programs", type=Path, default=Settings.programs, help=argparse.SUPPRESS)
    return p


def parse(argv=None) -> Settings:
    given = vars(parser().parse_args(argv))
    for name in ("out", "programs"):
        given[name] = given[name].absolute()
    if given["data"] is not None:
        given["data"] = given["data"].absolute()
    return Settings(**given)
