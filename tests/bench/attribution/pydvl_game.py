"""Exact Shapley values of ten contributors by pyDVL, for comparison. See main.cc.

    pydvl_game.py FOLDER THREADS

FOLDER holds rows.u8, labels.i32, base.f32 and updates.f32 (games.h). For each line on standard
input: one fit; answers with the seconds and the values in nats. A coalition's utility is less its
mean loss, by PyTorch as in torch_loop.py; each coalition is evaluated once and then remembered.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy
import torch
from pydvl.valuation import Dataset, ShapleyValuation
from pydvl.valuation.samplers import DeterministicUniformSampler
from pydvl.valuation.stopping import NoStopping
from pydvl.valuation.utility.base import UtilityBase
from torch_loop import SIZES, evaluate


class Coalitions(UtilityBase):
    """base + the updates of a coalition, evaluated on all rows."""

    def __init__(self, base, updates, rows, labels):
        self.base, self.updates, self.rows, self.labels = base, updates, rows, labels
        self.known = {}
        self._data = None

    def with_dataset(self, data, copy=True):
        self._data = data
        return self

    @property
    def training_data(self):
        return self._data

    def __call__(self, sample):
        subset = frozenset() if sample is None else frozenset(int(i) for i in sample.subset)
        if subset not in self.known:
            flat = self.base + self.updates[sorted(subset)].sum(dim=0)
            self.known[subset] = -evaluate([flat], self.rows, self.labels, len(self.labels))
        return self.known[subset]


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    warnings.simplefilter("ignore")

    def read(name, kind):
        return torch.from_numpy(numpy.fromfile(folder / name, kind))

    rows = read("rows.u8", numpy.uint8).view(-1, SIZES[0]).float() / 256
    labels = read("labels.i32", numpy.int32).long()
    base = read("base.f32", numpy.float32)
    updates = read("updates.f32", numpy.float32).view(-1, len(base))
    points = numpy.arange(len(updates), dtype=float).reshape(-1, 1)
    for _ in sys.stdin:
        utility = Coalitions(base, updates, rows, labels)
        valuation = ShapleyValuation(
            utility, DeterministicUniformSampler(), NoStopping(), progress=False)
        begun = time.perf_counter()
        valuation.fit(Dataset(points, numpy.zeros(len(points))))
        seconds = time.perf_counter() - begun
        print(seconds, *valuation.result.values, flush=True)


if __name__ == "__main__":
    main()
