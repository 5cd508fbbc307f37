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
from math import factorial, isqrt, ldexp

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


def layers_of(tensors, flat):
    """[(weight rows, bias)] from the input on; tensors lie in the order of their names."""
    assert [t["name"] for t in tensors] == sorted(t["name"] for t in tensors)
    named, offset = {}, 0
    for tensor in tensors:
        shape = tensor["shape"]
        if len(shape) == 1:
            named[tensor["name"]] = flat[offset:offset + shape[0]]
            offset += shape[0]
        else:
            rows = [flat[offset + j * shape[1]:offset + (j + 1) * shape[1]]
                    for j in range(shape[0])]
            named[tensor["name"]] = rows
            offset += shape[0] * shape[1]
    assert offset == len(flat)
    modules = sorted({int(name.split(".")[0]) for name in named})
    assert modules == list(range(0, 2 * len(modules), 2))
    return [(named[f"{m}.weight"], named[f"{m}.bias"]) for m in modules]


def forward(layers, pixels):
    """Logits as fractions: units of 2^-28 in a lone layer, else 2^-36."""
    h, bits = pixels, 8
    for index, (weight, bias) in enumerate(layers):
        z = [sum(w * a for w, a in zip(row, h)) + (b << bits) for row, b in zip(weight, bias)]
        bits += 20
        if index + 1 == len(layers):
            return [Fraction(value, 1 << bits) for value in z]
        # round() of a Fraction is half to even.
        h = [max(0, round(Fraction(value, 1 << (bits - 16)))) for value in z]
        bits = 16


def losses_of(game):
    size = len(game["layer_sizes"]) and game["layer_sizes"][0]
    rows = [game["inputs"][i:i + size] for i in range(0, len(game["inputs"]), size)]
    for mask in game["masks"]:
        flat = list(game["base"])
        for i, update in enumerate(game["updates"]):
            if mask >> i & 1:
                flat = [a + b for a, b in zip(flat, update)]
        flat = [max(-GRID_MAX, min(GRID_MAX, value)) for value in flat]
        layers = layers_of(game["tensors"], flat)
        for pixels, label in zip(rows, game["labels"]):
            logits = [float(value) for value in forward(layers, pixels)]
            yield nano_loss(logits, label)


def initial_parameters(tensors, seed):
    """The starting point of a model, as model.h describes it."""
    key = hashlib.sha256(seed).digest()
    flat, words, block = [], [], 0
    fan_in = {t["name"].split(".")[0]: t["shape"][1] for t in tensors if len(t["shape"]) == 2}
    for tensor in tensors:
        bound = isqrt((1 << 40) // fan_in[tensor["name"].split(".")[0]])
        count = tensor["shape"][0] * (tensor["shape"][1] if len(tensor["shape"]) == 2 else 1)
        for _ in range(count):
            if not words:
                digest = hashlib.sha256(
                    b"ROCHDALE-INITv1" + key + block.to_bytes(8, "big")).digest()
                words = [int.from_bytes(digest[i:i + 4], "big") for i in range(0, 32, 4)]
                block += 1
            flat.append((words.pop(0) * (2 * bound + 1) >> 32) - bound)
    return flat


GAMES = [  # SIZES UPDATES ROWS SEED ROW_BLOCK THREADS SPREAD STEP
    "20,12,8,5 3 40 1 0 1 16384 4096",
    "20,5 2 60 2 7 1 100000 100000",
    "30,16,10 2 40 3 16 1 4000000 2000000",      # wide logits, saturating coalitions
    "9,6,5,4,3,7,2 2 30 4 0 1 1000000 50000",    # "10.weight" stands before "2.weight"
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
