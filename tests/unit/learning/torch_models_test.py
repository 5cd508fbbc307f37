"""The models of model.h are the torch modules that their headers name: the same parameters by the
same names in state_dict() give the exact losses, to f32.

    torch_models_test.py EXACT_DUMP
"""

import json
import subprocess
import sys
from math import prod

import torch
from torch import nn
from torch.nn import functional as F

from naive_evaluator import convnet, transformer


def sequential(model):
    sizes = model["layer_sizes"]
    layers, inputs = [], sizes[0]
    if model["kind"] == "CONVNET":
        channels, height, width = model["image"]
        for out in model["channels"]:
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels, height, width = out, height // 2, width // 2
        layers.append(nn.Flatten())
        inputs, sizes = channels * height * width, [None, *sizes]
    for out in sizes[1:]:
        layers += [nn.Linear(inputs, out), nn.ReLU()]
        inputs = out
    return nn.Sequential(*layers[:-1])


class Block(nn.Module):
    def __init__(self, width, heads, mlp_width):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, mlp_width)
        self.mlp_out = nn.Linear(mlp_width, width)

    def attend(self, x):
        n, t, d = x.shape
        q, k, v = (part.view(n, t, self.heads, d // self.heads).transpose(1, 2)
                   for part in self.attention_in(x).split(d, dim=2))
        scores = q @ k.transpose(2, 3) / (d // self.heads) ** 0.5
        scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf"))
        return self.attention_out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mlp_out(F.relu(self.mlp_in(self.norm2(x))))


class CharacterTransformer(nn.Module):
    def __init__(self, context, vocabulary, width, heads, blocks, mlp_width, kind=None):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, characters):
        x = self.token(characters) + self.position(torch.arange(characters.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def losses_of(game):
    model = game["model"]
    inputs = torch.tensor(game["inputs"]).view(len(game["labels"]), -1)
    labels = torch.tensor(game["labels"])
    if model["kind"] == "CHARACTER_TRANSFORMER":
        module = CharacterTransformer(**model)
        targets = torch.cat([inputs[:, 1:], labels[:, None]], dim=1)
    else:
        module = sequential(model)
        inputs, targets = inputs.double().view(-1, *model.get("image", [inputs.shape[1]])), labels
    state, at = {}, 0
    for tensor in game["tensors"]:
        size = prod(tensor["shape"])
        state[tensor["name"]] = torch.tensor(game["base"][at:at + size]).view(
            tensor["shape"]) / 2.0**20
        at += size
    assert sorted(state) == sorted(module.state_dict())
    module.load_state_dict(state)
    module.double()
    with torch.no_grad():
        if targets.dim() == 2:
            logits = module(inputs).transpose(1, 2)
            return F.cross_entropy(logits, targets, reduction="none").mean(1)
        return F.cross_entropy(module(inputs / 256), targets, reduction="none")


GAMES = [  # MODEL UPDATES ROWS SEED ROW_BLOCK THREADS SPREAD STEP
    "20,12,8,5 0 40 1 0 1 200000 0",
    convnet([2, 13, 10], [5, 7, 6], [9, 4]) + " 0 30 2 0 1 200000 0",
    convnet([1, 28, 28], [8, 16], [32, 10]) + " 0 30 3 0 1 20000 0",
    transformer(context=12, vocabulary=30, width=24, heads=4, blocks=3, mlp_width=40)
    + " 0 30 4 0 1 200000 0",
]


def main(dump):
    for line in GAMES:
        game = json.loads(subprocess.run([dump, "json", *line.split()], check=True,
                                         capture_output=True).stdout)
        exact = torch.tensor(game["losses"], dtype=torch.float64) * 1e-9
        worst = (losses_of(game) - exact).abs().max().item()
        print(f"{line}: differ by at most {worst:.1e} nats")
        # Activations on 2^-16 move a loss by about that.
        if not worst < 1e-4:
            sys.exit("the module is another model")


if __name__ == "__main__":
    main(sys.argv[1])
