"""The cooperative's model in PyTorch, for those who train it (docs/models.md):

    from rochdale import torch_models
    task = coop.round("demo").join()
    model = torch_models.build(coop.cooperative().model_spec())
    model.load_state_dict(task.checkpoint())
    for batch in ...:
        optimizer.zero_grad()
        torch_models.losses(model, inputs[batch], labels[batch]).mean().backward()
        optimizer.step()
    update = task.submit(model.state_dict())

The only module here that needs torch: 1.13 or any 2.x. Import it by name.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def build(spec) -> nn.Module:
    """A module with the parameters that the cooperative's checkpoints have, by the same names; its
    values are PyTorch's own initial ones until load_state_dict.

    spec    attribution.v1.ModelSpec of a built-in architecture; ValueError for a TorchScript
            module, which its founders hand on as a file for torch.jit.load
    """
    if spec.HasField("torchscript"):
        raise ValueError(f"the model is the TorchScript module {spec.torchscript.module_sha256}: "
                         "load its file by torch.jit.load")
    if spec.HasField("transformer"):
        sizes = spec.transformer
        return CharacterTransformer(sizes.context, sizes.vocabulary, sizes.width, sizes.heads,
                                    sizes.blocks, sizes.mlp_width)
    if spec.HasField("convnet"):
        image = (spec.convnet.image_channels, spec.convnet.image_height, spec.convnet.image_width)
        return Pixels(spec.layer_sizes, image, spec.convnet.channels)
    return Pixels(spec.layer_sizes)


def losses(model: nn.Module, inputs, labels) -> torch.Tensor:
    """Every row's loss in nats, shape [rows]: what the cooperative pays by but for its rounding.

    model    of build(), or a TorchScript module with a `loss`
    inputs   bytes of rows, integers [rows, ...]: pixels, or characters of a CharacterTransformer
    labels   integers [rows]: classes, or the character behind the row
    """
    inputs, labels = (part if isinstance(part, torch.Tensor) else torch.tensor(part)
                      for part in (inputs, labels))
    labels = labels.long()
    if isinstance(model, CharacterTransformer):
        characters = inputs.long()
        targets = torch.cat([characters[:, 1:], labels[:, None]], dim=1)
        scores = model(characters).transpose(1, 2)
        return F.cross_entropy(scores, targets, reduction="none").mean(1)
    values = inputs.to(next(model.parameters()).dtype) / 256
    if hasattr(model, "loss"):
        return model.loss(values, labels)
    return F.cross_entropy(model(values), labels, reduction="none")


def text_rows(text: str, alphabet: str, context: int, starts) -> tuple:
    """Rows of a character transformer: (inputs U8 [rows, context], labels U8 [rows]).

    alphabet   all characters there are, in the order of their numbers; the same for all members
    starts     where in the text each row begins, at most len(text) - context - 1

    ValueError for a text with a character that is not in the alphabet.
    """
    foreign = set(text) - set(alphabet)
    if foreign or len(set(alphabet)) != len(alphabet) or len(alphabet) > 256:
        raise ValueError(f"not in the alphabet: {sorted(foreign)}" if foreign else
                         "an alphabet is at most 256 different characters")
    numbers = {character: number for number, character in enumerate(alphabet)}
    characters = np.array([numbers[character] for character in text], np.uint8)
    starts = np.asarray(starts, np.int64)
    if len(starts) and not 0 <= starts.min() <= starts.max() < len(text) - context:
        raise ValueError(f"rows of {context} characters and the one behind them begin in 0 to "
                         f"{len(text) - context - 1}")
    windows = characters[starts[:, None] + np.arange(context + 1)]
    return windows[:, :-1], windows[:, -1]


class Pixels(nn.Sequential):
    """Softmax regression, MLP or convnet: [rows, ...] in units of one to scores [rows, classes].

    sizes      widths from input to output; of a convnet the linear layers' without the input
    image      (channels, height, width) of a convnet
    channels   of each convolution of a convnet
    """

    def __init__(self, sizes, image=None, channels=()):
        layers, sizes = [], list(sizes)
        if image is not None:
            planes, height, width = image
            for out in channels:
                layers += [nn.Conv2d(planes, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
                planes, height, width = out, height // 2, width // 2
            layers.append(nn.Flatten())
            sizes.insert(0, planes * height * width)
        self._row = tuple(image) if image is not None else (sizes[0],)
        for inputs, outputs in zip(sizes, sizes[1:]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        super().__init__(*layers[:-1])

    def forward(self, values):
        return super().forward(values.reshape(-1, *self._row))


class Block(nn.Module):
    """Causal attention and an MLP, each behind a normalisation and added to its input."""

    def __init__(self, width, heads, mlp_width):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)

    def forward(self, x):
        x = x + self._attend(self.norm1(x))
        return x + self.mlp_out(F.relu(self.mlp_in(self.norm2(x))))

    def _attend(self, x):
        # Written out: scaled_dot_product_attention came with PyTorch 2.
        rows, positions, width = x.shape
        q, k, v = (part.view(rows, positions, self.heads, -1).transpose(1, 2)
                   for part in self.attention_in(x).split(width, dim=2))
        scores = q @ k.transpose(2, 3) / (width // self.heads) ** 0.5
        later = torch.ones(positions, positions, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(later, float("-inf")).softmax(-1)
        return self.attention_out((weights @ v).transpose(1, 2).reshape(rows, positions, width))


class CharacterTransformer(nn.Module):
    """Characters [rows, positions] to scores [rows, positions, vocabulary] of those that follow."""

    def __init__(self, context, vocabulary, width, heads, blocks, mlp_width):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, characters):
        positions = torch.arange(characters.shape[1], device=characters.device)
        x = self.token(characters) + self.position(positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
