"""The models of model.h are the torch modules that the SDK builds for those who train them: the
same parameters by the same names in state_dict() give the exact losses, to their rounding.

    torch_models_test.py EXACT_DUMP
"""

import importlib.util
import json
import subprocess
import sys
from math import prod
from pathlib import Path

import torch

from naive_evaluator import convnet, transformer


# By its file: the package around it needs generated code, which this test does without.
_SDK = Path(__file__).resolve().parents[3] / "sdk" / "python" / "rochdale" / "torch_models.py"
_spec = importlib.util.spec_from_file_location("torch_models", _SDK)
torch_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(torch_models)


def module_of(model):
    if model["kind"] == "CHARACTER_TRANSFORMER":
        return torch_models.CharacterTransformer(**{k: v for k, v in model.items() if k != "kind"})
    return torch_models.Pixels(model["layer_sizes"], model.get("image"), model.get("channels", ()))


def losses_of(game):
    inputs = torch.tensor(game["inputs"]).view(len(game["labels"]), -1)
    module, state, at = module_of(game["model"]), {}, 0
    for tensor in game["tensors"]:
        size = prod(tensor["shape"])
        state[tensor["name"]] = torch.tensor(game["base"][at:at + size]).view(
            tensor["shape"]) / 2.0**20
        at += size
    assert sorted(state) == sorted(module.state_dict())
    module.load_state_dict(state)
    with torch.no_grad():
        return torch_models.losses(module.double(), inputs, torch.tensor(game["labels"]))


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
