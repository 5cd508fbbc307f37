"""The forward passes of the exact evaluator in whole numbers, from docs/evidence.md 6.4 alone.
Activations are integers in units of 2^-16 (pixels of 2^-8), parameters in units of 2^-20. Floats
stand only where the page says so: means, standard deviations and attention weights."""

from fractions import Fraction
from math import sqrt

EPSILON = float.fromhex("0x1.4f8b588e368f1p-17")


def to_units(value):
    """A number to units of 2^-16; round() of a fraction is half to even."""
    return round(Fraction(value) * 65536)


def rounded(values, bits):
    """Units of 2^-bits to units of 2^-16."""
    return [round(Fraction(value, 1 << (bits - 16))) for value in values]


def linear(named, name, h, bits):
    """In units of 2^-(20 + bits)."""
    (outputs, *rest), weight = named[name + ".weight"]
    size = len(weight) // outputs
    assert size == len(h), (name, rest)
    bias = named[name + ".bias"][1]
    return [sum(w * a for w, a in zip(weight[j * size:], h)) + (bias[j] << bits)
            for j in range(outputs)]


def chain(named, names, h, bits):
    """Linear layers with ReLU between them; the logits."""
    for name in names[:-1]:
        h = [max(0, a) for a in rounded(linear(named, name, h, bits), 20 + bits)]
        bits = 16
    return [Fraction(z, 1 << (20 + bits)) for z in linear(named, names[-1], h, bits)]


def convnet(model, named, pixels):
    channels, height, width = model["image"]
    h, bits = pixels, 8
    for b, outputs in enumerate(model["channels"]):
        def at(c, y, x):
            inside = 0 <= y < height and 0 <= x < width
            return h[(c * height + y) * width + x] if inside else 0

        z = {}
        for y in range(height):
            for x in range(width):
                patch = [at(c, y + dy, x + dx) for c in range(channels)
                         for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
                for c, value in enumerate(linear(named, str(3 * b), patch, bits)):
                    z[c, y, x] = value
        pooled = [max(z[c, 2 * y + dy, 2 * x + dx] for dy in (0, 1) for dx in (0, 1))
                  for c in range(outputs) for y in range(height // 2) for x in range(width // 2)]
        h = [max(0, a) for a in rounded(pooled, 20 + bits)]
        channels, height, width, bits = outputs, height // 2, width // 2, 16
    first = 3 * len(model["channels"]) + 1
    return chain(named, [str(first + 2 * l) for l in range(len(model["layer_sizes"]))], h, bits)


def norm(named, name, x):
    mean = to_units(sum(x) / 65536 / len(x))
    c = [a - mean for a in x]
    deviation = sqrt(sum(a * a for a in c) / 2**32 / len(x) + EPSILON)
    gain, bias = named[name + ".weight"][1], named[name + ".bias"][1]
    n = [to_units(a / 65536 / deviation) for a in c]
    return rounded([g * a + (b << 16) for g, a, b in zip(gain, n, bias)], 36)


def attention(q, k, v, exp):
    """One head: its outputs at every position, from lists of vectors."""
    scale = 1.0 / sqrt(float(len(q[0])))
    out = []
    for t in range(len(q)):
        scores = [sum(a * b for a, b in zip(k[u], q[t])) / 2**32 * scale for u in range(t + 1)]
        e = [exp(a - max(scores)) for a in scores]
        total = 0.0
        for value in e:
            total = total + value
        p = [to_units(value / total) for value in e]
        out.append(rounded([sum(p[u] * v[u][f] for u in range(t + 1))
                            for f in range(len(v[0]))], 32))
    return out


def transformer(model, named, characters, exp):
    d, heads = model["width"], model["heads"]
    token, position = named["token.weight"][1], named["position.weight"][1]
    x = [rounded([token[c * d + f] + position[t * d + f] for f in range(d)], 20)
         for t, c in enumerate(characters)]

    def add(name, x, h):
        """Residual sums."""
        return [[a + b for a, b in zip(row, rounded(linear(named, name, values, 16), 36))]
                for row, values in zip(x, h)]

    for b in range(model["blocks"]):
        name = f"blocks.{b}."
        qkv = [rounded(linear(named, name + "attention_in", norm(named, name + "norm1", row), 16),
                       36) for row in x]
        attended = [[] for _ in x]
        for head in range(heads):
            width = d // heads
            q, k, v = ([row[at + head * width:at + (head + 1) * width] for row in qkv]
                       for at in (0, d, 2 * d))
            for t, values in enumerate(attention(q, k, v, exp)):
                attended[t] += values
        x = add(name + "attention_out", x, attended)
        hidden = [[max(0, a) for a in rounded(
            linear(named, name + "mlp_in", norm(named, name + "norm2", row), 16), 36)]
            for row in x]
        x = add(name + "mlp_out", x, hidden)
    return [[Fraction(z, 1 << 36) for z in linear(named, "head", norm(named, "norm", row), 16)]
            for row in x]


def logits_of(model, named, row, exp):
    """Logits as fractions, for every position of a row that has a target of its own."""
    if model["kind"] == "CONVNET":
        return [convnet(model, named, row)]
    if model["kind"] == "CHARACTER_TRANSFORMER":
        return transformer(model, named, row, exp)
    names = [str(2 * l) for l in range(len(model["layer_sizes"]) - 1)]
    return [chain(named, names, row, 8)]
