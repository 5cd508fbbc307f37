"""Fashion-MNIST, parted among the members: sealed validation pool, probes, non-IID shards.

Everything follows from the seed. Images are U8 [N, 784], labels U8 [N].
"""

import dataclasses
import gzip
from pathlib import Path

import numpy as np

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
           "Boot")
BAG, SHIRT = 8, 6
POOL_ROWS = 10_000
CLASS_PROBE_ROWS = 100   # of each of the cooperative's ten probes
BAG_PROBE_ROWS = 200     # the value-breaking member's own hard constraint
SAMPLE_ROWS = 300        # held back of a shard: the member's first criterion
MAIN_ROWS_MAX = 200      # held back of its largest class: the second, and its hard constraint
DIRICHLET = 0.5
DRAWS_MAX = 200_000


class NoSplit(RuntimeError):
    """No draw satisfied the conditions on shards."""


@dataclasses.dataclass(frozen=True)
class Rows:
    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def take(self, index) -> "Rows":
        return Rows(self.inputs[index], self.labels[index])


@dataclasses.dataclass(frozen=True)
class Shard:
    """What a member has: rows to train on, and rows held back that say what it cares about."""
    train: Rows
    sample: Rows
    main: Rows
    main_class: int
    class_counts: tuple  # by true class, before anything was relabelled


@dataclasses.dataclass(frozen=True)
class World:
    test: Rows
    pool: Rows
    class_probes: list   # ten Rows
    bag_probe: Rows
    shards: dict         # member index -> Shard
    draws: int


def _images(path: Path) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 784)


def _labels(path: Path) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)


def load(part: str, folder: Path = FOLDER) -> Rows:
    """part: "train" (60,000 rows) or "t10k" (10,000 rows)."""
    return Rows(_images(folder / f"{part}-images-idx3-ubyte.gz"),
                _labels(folder / f"{part}-labels-idx1-ubyte.gz"))


def draw_counts(rng, available: np.ndarray, members: list) -> tuple:
    """Rows of every class (row) that go to every member with a shard (column): Dirichlet per class,
    drawn again until the conditions hold. Returns (counts, number of draws)."""
    roles = [m.role for m in members if m.has_shard]
    honest = np.array([r == "honest" for r in roles])
    breaker = roles.index("value-breaking")
    classes, people = len(available), len(roles)
    rows_min = min(3_000, int(0.43 * available.sum() / people))
    batch = 500
    for done in range(0, DRAWS_MAX, batch):
        shares = rng.dirichlet([DIRICHLET] * people, (batch, classes))
        cuts = np.floor(np.cumsum(shares, axis=2) * available[None, :, None]).astype(np.int64)
        cuts[:, :, -1] = available
        counts = np.diff(cuts, axis=2, prepend=0)
        honest_counts = np.sort(counts[:, :, honest], axis=2)
        good = counts.sum(axis=1).min(axis=1) >= rows_min
        # Where one member holds nearly all of a class, local models drift apart: the honest ones
        # together have enough of every class, and a second of them has some.
        good &= honest_counts.sum(axis=2).min(axis=1) >= 2_000
        good &= honest_counts[:, :, -2].min(axis=1) >= 300
        good &= counts[:, BAG, breaker] >= 600
        if good.any():
            first = int(good.argmax())
            return counts[first], done + first + 1
    raise NoSplit(f"no split of {available.sum()} rows among {people} members in {DRAWS_MAX} draws")


def _shard(rng, rows: Rows, role: str) -> Shard:
    counts = tuple(int(n) for n in np.bincount(rows.labels, minlength=len(CLASSES)))
    labels = rows.labels.copy()
    if role == "value-breaking":
        labels[labels == BAG] = SHIRT
    elif role == "label-flipper":
        labels = (len(CLASSES) - 1 - labels).astype(np.uint8)
    order = rng.permutation(len(rows))
    rows = Rows(rows.inputs[order], labels[order])
    sampled = min(SAMPLE_ROWS, len(rows) // 10)
    rest = rows.take(slice(sampled, None))
    main_class = int(np.bincount(rows.labels, minlength=len(CLASSES)).argmax())
    of_main = np.flatnonzero(rest.labels == main_class)
    held = of_main[:min(MAIN_ROWS_MAX, len(of_main) // 5)]
    keep = np.ones(len(rest), bool)
    keep[held] = False
    return Shard(rest.take(keep), rows.take(slice(0, sampled)), rest.take(held), main_class, counts)


def make_world(seed: int, members: list, folder: Path = FOLDER) -> World:
    """Parts the data. The same seed and members give the same parts."""
    rng = np.random.default_rng([seed, 1])
    rows, test = load("train", folder), load("t10k", folder)
    order = rng.permutation(len(rows))
    pool, order = order[:POOL_ROWS], order[POOL_ROWS:]
    by_class = [order[rows.labels[order] == c] for c in range(len(CLASSES))]
    bag_probe, by_class[BAG] = by_class[BAG][:BAG_PROBE_ROWS], by_class[BAG][BAG_PROBE_ROWS:]
    probes = [index[:CLASS_PROBE_ROWS] for index in by_class]
    by_class = [index[CLASS_PROBE_ROWS:] for index in by_class]
    counts, draws = draw_counts(rng, np.array([len(index) for index in by_class]), members)
    pieces = [np.split(index, np.cumsum(counts[c])[:-1]) for c, index in enumerate(by_class)]
    holders = [m for m in members if m.has_shard]
    shards = {m.index: _shard(rng, rows.take(np.concatenate([p[k] for p in pieces])), m.role)
              for k, m in enumerate(holders)}
    return World(test, rows.take(pool), [rows.take(p) for p in probes], rows.take(bag_probe),
                 shards, draws)
