"""TorchScript modules for tests, right ones and wrong ones, each NAME.pt with its spec NAME.json
(the JSON of libs/learning/model.h).

    make_modules.py DIRECTORY LIBRARY BLAS_KERNEL
"""

import hashlib
import io
import json
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

TOLERANCE, DEADBAND = 1_000, 4_000


def mlp(sizes):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Right(nn.Module):
    """What docs/models.md shows."""

    def __init__(self, sizes):
        super().__init__()
        self.net = mlp(sizes)

    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(self.net(inputs), targets, reduction="none")


class Attention(nn.Module):
    """Embeds the values of a row and attends to them: operators of another kind."""

    def __init__(self, values, classes):
        super().__init__()
        self.token = nn.Embedding(values, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, classes)

    @torch.jit.export
    def loss(self, inputs, targets):
        x = self.norm(self.token((inputs * 256).long()))
        q, k, v = self.qkv(x).chunk(3, dim=2)
        weights = torch.softmax(q.matmul(k.transpose(1, 2)) / 8 ** 0.5, dim=2)
        return F.cross_entropy(self.head(weights.matmul(v).mean(dim=1)), targets, reduction="none")


class Mean(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(self.net(inputs), targets)


class SpreadMean(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        mean = F.cross_entropy(self.net(inputs), targets)
        return mean.expand(inputs.shape[0]).clone()


class Centred(Right):
    """Uses the statistics of a batch."""

    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(self.net(inputs - inputs.mean(dim=0)), targets, reduction="none")


class Neighbour(Right):
    """Per-sample but in batches of more than 64 rows."""

    @torch.jit.export
    def loss(self, inputs, targets):
        losses = F.cross_entropy(self.net(inputs), targets, reduction="none")
        if inputs.shape[0] > 64:
            losses = losses + losses.mean()
        return losses


class Random(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(F.dropout(self.net(inputs), 0.5, True), targets, reduction="none")


class Reads(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        secret = torch.from_file("/etc/passwd", False, 4, dtype=torch.float64)
        return F.cross_entropy(self.net(inputs), targets, reduction="none") + secret.sum() * 0


class Writes(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        torch.save(inputs, "/tmp/rochdale-module-was-here")
        return F.cross_entropy(self.net(inputs), targets, reduction="none")


class Remembers(Right):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.register_buffer("calls", torch.zeros(1))

    @torch.jit.export
    def loss(self, inputs, targets):
        self.calls.add_(1)
        return F.cross_entropy(self.net(inputs), targets, reduction="none") + self.calls


class SetsState(Right):
    @torch.jit.export
    def __getstate__(self):
        return self.net[0].weight, True

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        torch.save(state[0], "/tmp/rochdale-module-was-here")
        self.net[0].weight = state[0]
        self.training = state[1]

    @torch.jit.export
    def loss(self, inputs, targets):
        return self.net(inputs)[:, 0]


class Overflows(Right):
    """Its loss is infinite once its first parameter, a bias, exceeds 2."""

    @torch.jit.export
    def loss(self, inputs, targets):
        over = F.relu(self.net[0].bias[0] - 2)
        losses = F.cross_entropy(self.net(inputs), targets, reduction="none")
        return losses + torch.exp(1e6 * over) - 1


class Negative(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        return -F.cross_entropy(self.net(inputs), targets, reduction="none")


class Single(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(self.net(inputs), targets, reduction="none").float()


class Forever(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        losses = F.cross_entropy(self.net(inputs), targets, reduction="none")
        while bool(losses.sum() < 1e300):
            losses = losses + 0
        return losses


class Huge(Right):
    @torch.jit.export
    def loss(self, inputs, targets):
        losses = F.cross_entropy(self.net(inputs), targets, reduction="none")
        return losses + torch.zeros([1 << 17, 1 << 17], dtype=losses.dtype).sum()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(12, 12)
        self.b = nn.Linear(12, 12)
        self.b.weight = self.a.weight

    @torch.jit.export
    def loss(self, inputs, targets):
        return F.cross_entropy(self.b(self.a(inputs)), targets, reduction="none")


class NoLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(12, 5)

    def forward(self, inputs):
        return self.net(inputs)


def write(folder, name, module, inputs=12, classes=5, values=256, precision="f64"):
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(module), saved)
    (folder / f"{name}.pt").write_bytes(saved.getvalue())
    parameters = sorted((key, list(value.shape)) for key, value in module.named_parameters())
    spec = {"kind": "TORCHSCRIPT", "module_sha256": hashlib.sha256(saved.getvalue()).hexdigest(),
            "inputs": inputs, "input_values": values, "classes": classes,
            "parameters": [{"name": key, "shape": shape} for key, shape in parameters],
            "library": sys.argv[2], "precision": precision, "aten_capability": "default",
            "blas_kernel": sys.argv[3], "tolerance_nanonats": TOLERANCE,
            "deadband_nanonats": DEADBAND}
    (folder / f"{name}.json").write_text(
        json.dumps(spec, sort_keys=True, separators=(",", ":")))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    sizes = [12, 8, 5]
    write(folder, "right", Right(sizes))
    write(folder, "right_f32", Right(sizes), precision="f32")
    write(folder, "small", Right([16, 12, 4]), inputs=16, classes=4)
    write(folder, "overflows4", Overflows([16, 12, 4]), inputs=16, classes=4)
    write(folder, "attention", Attention(30, 5), values=30)
    for kind in (Mean, SpreadMean, Centred, Neighbour, Random, Reads, Writes, Remembers, Overflows,
                 Negative, Single, Forever, Huge):
        write(folder, kind.__name__.lower(), kind(sizes))
    write(folder, "tied", Tied(), classes=12)
    write(folder, "noloss", NoLoss())
    write(folder, "setsstate", SetsState(sizes))


main()
