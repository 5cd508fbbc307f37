"""The exact evaluator once more, from its description alone: whole numbers for everything up to the
logits, plain floats for exp and log in the documented order. No BLAS, no torch, no numpy.

    naive_evaluator.py EXACT_DUMP    runs games of the C++ evaluator and compares every loss
"""

import hashlib
import json
import struct
import subprocess
import sys
from fractions import Fraction
from math import factorial, isqrt, ldexp, prod

import naive_models

MAGIC = float.fromhex("0x1.8p+52")
LOG2E = float.fromhex("0x1.71547652b82fep+0")
LN2_HI = float.fromhex("0x1.62e42fefa38p-1")
LN2_LO = float.fromhex("0x1.ef35793c7673p-45")
SQRT2 = float.fromhex("0x1.6a09e667f3bcdp+0")
EXP = [1.0 / factorial(i) for i in range(14)]
LOG = [2.0 / (2 * i + 1) for i in range(11)]
GRID_MAX = (8 << 20) - 1


def exact_exp(x):
    if x < -700.0:
        return 0.0
    k = (x * LOG2E + MAGIC) - MAGIC
    r = (x - k * LN2_HI) - k * LN2_LO
    p = EXP[13]
    for i in range(12, -1, -1):
        p = p * r + EXP[i]
    return ldexp(p, int(k))


def exact_log(s):
    bits = struct.unpack(">Q", struct.pack(">d", s))[0]
    e = (bits >> 52) - 1023
    m = struct.unpack(">d", struct.pack(">Q", (bits & ((1 << 52) - 1)) | (1023 << 52)))[0]
    if m >= SQRT2:
        m = m / 2
        e = e + 1
    e = float(e)
    g = m - 1.0
    f = g / (g + 2.0)
    w = f * f
    q = LOG[10]
    for i in range(9, 0, -1):
        q = q * w + LOG[i]
    q = q * w
    return e * LN2_HI + ((g - f * (g - q)) + e * LN2_LO)


def nano_loss(logits, label):
    top = max(logits)
    d = [z - top for z in logits]
    s = 0.0
    for value in d:
        s = s + exact_exp(value)
    loss = exact_log(s) - d[label]
    return int((loss * 1e9 + MAGIC) - MAGIC)


def named_tensors(tensors, flat):
    """{name: (shape, units)}; tensors lie in the order of their names."""
    assert [t["name"] for t in tensors] == sorted(t["name"] for t in tensors)
    named, offset = {}, 0
    for tensor in tensors:
        size = prod(tensor["shape"])
        named[tensor["name"]] = (tensor["shape"], flat[offset:offset + size])
        offset += size
    assert offset == len(flat)
    return named


def losses_of(game):
    model = game["model"]
    size = len(game["inputs"]) // len(game["labels"])
    rows = [game["inputs"][i:i + size] for i in range(0, len(game["inputs"]), size)]
    for mask in game["masks"]:
        flat = list(game["base"])
        for i, update in enumerate(game["updates"]):
            if mask >> i & 1:
                flat = [a + b for a, b in zip(flat, update)]
        flat = [max(-GRID_MAX, min(GRID_MAX, value)) for value in flat]
        named = named_tensors(game["tensors"], flat)
        for row, label in zip(rows, game["labels"]):
            # Of a transformer there are logits for every position of a row.
            positions = naive_models.logits_of(model, named, row, exact_exp)
            targets = (row[1:] if len(positions) > 1 else []) + [label]
            nanos = [nano_loss([float(z) for z in logits], target)
                     for logits, target in zip(positions, targets)]
            yield round(Fraction(sum(nanos), len(nanos)))


def initial_parameters(tensors, seed):
    """The starting point of a model, as model.h describes it."""
    key = hashlib.sha256(seed).digest()
    flat, words, block = [], [], 0
    shapes = {t["name"]: t["shape"] for t in tensors}
    for tensor in tensors:
        module = tensor["name"].rsplit(".", 1)[0]
        weight = shapes[module + ".weight"]
        bound = isqrt((1 << 40) // prod(weight[1:]))
        for _ in range(prod(tensor["shape"])):
            if not words:
                digest = hashlib.sha256(
                    b"ROCHDALE-INITv1" + key + block.to_bytes(8, "big")).digest()
                words = [int.from_bytes(digest[i:i + 4], "big") for i in range(0, 32, 4)]
                block += 1
            value = (words.pop(0) * (2 * bound + 1) >> 32) - bound
            if len(weight) == 1:  # a normalisation
                value = 1 << 20 if tensor["name"].endswith(".weight") else 0
            flat.append(value)
    return flat


def convnet(image, channels, layer_sizes):
    return json.dumps({"kind": "CONVNET", "image": image, "channels": channels,
                       "layer_sizes": layer_sizes}, separators=(",", ":"))


def transformer(**sizes):
    return json.dumps({"kind": "CHARACTER_TRANSFORMER", **sizes}, separators=(",", ":"))


SMALL = dict(context=6, vocabulary=9, width=8, heads=2, blocks=2, mlp_width=12)
GAMES = [  # MODEL UPDATES ROWS SEED ROW_BLOCK THREADS SPREAD STEP
    "20,12,8,5 3 40 1 0 1 16384 4096",
    "20,5 2 60 2 7 1 100000 100000",
    "30,16,10 2 40 3 16 1 4000000 2000000",      # wide logits, saturating coalitions
    "9,6,5,4,3,7,2 2 30 4 0 1 1000000 50000",    # "10.weight" stands before "2.weight"
    convnet([1, 6, 6], [3, 4], [5]) + " 2 12 5 5 1 200000 50000",
    convnet([2, 9, 7], [4, 3], [6, 3]) + " 1 9 6 0 1 1000000 500000",  # odd sides, two channels
    convnet([1, 4, 5], [40], [2]) + " 1 8 7 3 1 3000000 1500000",
    transformer(**SMALL) + " 2 5 8 2 1 100000 50000",
    transformer(**{**SMALL, "heads": 8, "blocks": 1}) + " 1 5 9 0 1 1000000 500000",
    transformer(context=1, vocabulary=2, width=3, heads=1, blocks=1, mlp_width=1)
    + " 1 5 10 0 1 500000 100000",
    transformer(**{**SMALL, "blocks": 11, "width": 4}) + " 0 2 11 0 1 300000 0",  # "10" before "2"
]


def main(dump):
    for line in GAMES:
        output = subprocess.run([dump, "json", *line.split()], check=True,
                                capture_output=True).stdout
        game = json.loads(output)
        if initial_parameters(game["tensors"], b"seed") != game["initial"]:
            sys.exit(f"{line}: the initial parameters differ")
        expected = list(losses_of(game))
        if expected != game["losses"]:
            at = next(i for i, pair in enumerate(zip(expected, game["losses"]))
                      if pair[0] != pair[1])
            sys.exit(f"{line}: loss {at} is {game['losses'][at]}, not {expected[at]}")
        print(f"{line}: {len(expected)} losses equal, from {min(expected)} to {max(expected)}")


if __name__ == "__main__":
    main(sys.argv[1])
