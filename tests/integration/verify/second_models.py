"""The second verifier's convnet and character transformer (6.4 of docs/evidence.md), in numpy:
binary64 throughout, where sums of products are exact in any order."""

import math

import numpy as np

EPSILON = float.fromhex("0x1.4f8b588e368f1p-17")


def rounded(values):
    """To a multiple of 2^-16, half to even."""
    return np.rint(values * 2.0**16) * 2.0**-16


def product(tensors, name, h):
    """W h + b for vectors along the last axis."""
    weight = tensors[name + ".weight"] * 2.0**-20
    return h @ weight.reshape(weight.shape[0], -1).T + tensors[name + ".bias"] * 2.0**-20


def linear_layers(tensors, names, h):
    for name in names[:-1]:
        h = rounded(np.maximum(product(tensors, name, h), 0))
    return product(tensors, names[-1], h)


def convnet_logits(tensors, model, inputs):
    """[row, class]"""
    channels, height, width = model["image"]
    h = inputs.reshape(-1, channels, height, width) / 256
    for b in range(len(model["channels"])):
        around = np.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1)))
        # patches[row, y, x, plane, dy, dx]
        patches = np.stack([np.stack([around[:, :, dy:dy + height, dx:dx + width]
                                      for dx in range(3)], -1) for dy in range(3)], -2)
        patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(len(h), height, width, -1)
        z = product(tensors, str(3 * b), patches)[:, :height // 2 * 2, :width // 2 * 2]
        height, width = height // 2, width // 2
        z = z.reshape(len(h), height, 2, width, 2, -1).max(axis=(2, 4))
        h = rounded(np.maximum(z, 0)).transpose(0, 3, 1, 2)
    first = 3 * len(model["channels"]) + 1
    names = [str(first + 2 * layer) for layer in range(len(model["layer_sizes"]))]
    return linear_layers(tensors, names, h.reshape(len(h), -1))


def normalise(tensors, name, x):
    v = x - rounded(x.sum(axis=-1, keepdims=True) / x.shape[-1])
    s = np.sqrt((v * v).sum(axis=-1, keepdims=True) / x.shape[-1] + EPSILON)
    weight, bias = tensors[name + ".weight"] * 2.0**-20, tensors[name + ".bias"] * 2.0**-20
    return rounded(weight * rounded(v / s) + bias)


def attend(q, k, v, exp):
    """One head of one row: [position, D] each."""
    scale = 1.0 / math.sqrt(float(q.shape[1]))
    scores = (k @ q.T).tolist()
    out = []
    for t in range(len(q)):
        a = [scores[u][t] * scale for u in range(t + 1)]
        e = [exp(value - max(a)) for value in a]
        total = 0.0
        for value in e:
            total = total + value
        p = rounded(np.array([value / total for value in e]))
        out.append(rounded(p @ v[:t + 1]))
    return np.array(out)


def transformer_logits(tensors, model, characters, exp):
    """[row, position, character]"""
    d, heads = model["width"], model["heads"]
    x = rounded((tensors["token.weight"][characters] + tensors["position.weight"]) * 2.0**-20)
    for b in range(model["blocks"]):
        name = f"blocks.{b}."
        z = rounded(product(tensors, name + "attention_in",
                            normalise(tensors, name + "norm1", x)))
        parts = [z[..., at:at + d].reshape(*x.shape[:2], heads, d // heads)
                 for at in (0, d, 2 * d)]
        a = np.stack([np.concatenate([attend(*(part[row, :, head] for part in parts), exp)
                                      for head in range(heads)], axis=1)
                      for row in range(len(x))])
        x = x + rounded(product(tensors, name + "attention_out", a))
        h = rounded(np.maximum(product(tensors, name + "mlp_in",
                                       normalise(tensors, name + "norm2", x)), 0))
        x = x + rounded(product(tensors, name + "mlp_out", h))
    return product(tensors, "head", normalise(tensors, "norm", x))
