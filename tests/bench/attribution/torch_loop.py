"""A plain PyTorch loop over candidates, for comparison. See main.cc.

    torch_loop.py FOLDER THREADS [f64]

FOLDER holds rows.u8, labels.i32 and NAME.f32 (games.h). For each line "NAME BATCH" on standard
input: evaluates every candidate on all rows, BATCH rows at a time, and answers with the seconds
and the sum over candidates of the mean loss.
"""

import sys
import time
from pathlib import Path

import numpy
import torch
from torch.nn import functional

SIZES = (784, 256, 128, 10)


def tensors(flat):
    """Views of a flat vector in canonical order: bias and weight of each layer."""
    at, layers = 0, []
    for inputs, outputs in zip(SIZES, SIZES[1:]):
        bias = flat[at:at + outputs]
        at += outputs
        layers.append((flat[at:at + inputs * outputs].view(outputs, inputs), bias))
        at += inputs * outputs
    return layers


def evaluate(candidates, rows, labels, batch):
    total = 0.0
    with torch.no_grad():
        for flat in candidates:
            layers = tensors(flat)
            losses = []
            for x, y in zip(rows.split(batch), labels.split(batch)):
                for weight, bias in layers[:-1]:
                    x = functional.relu(functional.linear(x, weight, bias))
                x = functional.linear(x, *layers[-1])
                losses.append(functional.cross_entropy(x, y, reduction="none"))
            total += float(torch.cat(losses).mean())
    return total


def main():
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    kind = torch.float64 if "f64" in sys.argv[3:] else torch.float32
    torch.set_num_threads(threads)
    rows = torch.from_numpy(numpy.fromfile(folder / "rows.u8", numpy.uint8).reshape(-1, SIZES[0]))
    rows = rows.to(kind) / 256
    labels = torch.from_numpy(numpy.fromfile(folder / "labels.i32", numpy.int32)).long()
    count = sum(a * b + b for a, b in zip(SIZES, SIZES[1:]))
    games = {}
    for line in sys.stdin:
        name, batch = line.split()
        if name not in games:
            flat = numpy.fromfile(folder / f"{name}.f32", numpy.float32).reshape(-1, count)
            games[name] = torch.from_numpy(flat).to(kind)
        begun = time.perf_counter()
        total = evaluate(games[name], rows, labels, int(batch))
        print(time.perf_counter() - begun, total, flush=True)


if __name__ == "__main__":
    main()
