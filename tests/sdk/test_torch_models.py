"""The cooperative's model in PyTorch. That its losses are those that are paid by is
tests/unit/learning/torch_models_test.py's to say, and tests/system/test_networks.py's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rochdale import protos, torch_models  # noqa: E402

Spec = protos.attribution.ModelSpec


def shapes(spec) -> dict:
    return {name: tuple(value.shape)
            for name, value in torch_models.build(spec).state_dict().items()}


def test_layers_are_named_as_in_a_sequential():
    assert shapes(Spec(layer_sizes=(6, 4, 3))) == {
        "0.weight": (4, 6), "0.bias": (4,), "2.weight": (3, 4), "2.bias": (3,)}
    assert shapes(Spec(layer_sizes=(6, 3))) == {"0.weight": (3, 6), "0.bias": (3,)}
    convnet = protos.attribution.Convnet(image_channels=2, image_height=5, image_width=8,
                                         channels=(3, 4))
    assert shapes(Spec(layer_sizes=(7, 3), convnet=convnet)) == {
        "0.weight": (3, 2, 3, 3), "0.bias": (3,), "3.weight": (4, 3, 3, 3), "3.bias": (4,),
        "7.weight": (7, 4 * 1 * 2), "7.bias": (7,), "9.weight": (3, 7), "9.bias": (3,)}


def test_a_transformer_sees_no_later_character():
    spec = Spec(transformer=protos.attribution.CharacterTransformer(
        context=6, vocabulary=9, width=8, heads=2, blocks=2, mlp_width=12))
    model = torch_models.build(spec)
    row = torch.arange(6)[None]
    other = row.clone()
    other[0, 4] = 8
    with torch.no_grad():
        first, second = model(row), model(other)
    assert torch.equal(first[0, :4], second[0, :4])
    assert not torch.equal(first[0, 4:], second[0, 4:])
    # A row's loss is the mean over its positions, the label behind them being the last target.
    expected = torch.nn.functional.cross_entropy(first[0], torch.tensor([1, 2, 3, 4, 5, 7]))
    found = torch_models.losses(model, row.to(torch.uint8), torch.tensor([7], dtype=torch.uint8))
    assert found.shape == (1,) and torch.allclose(found[0], expected)


def test_pixels_count_in_parts_of_256():
    model = torch_models.build(Spec(layer_sizes=(4, 3)))
    inputs, labels = np.array([[0, 64, 128, 255]], np.uint8), np.array([2], np.uint8)
    scores = model(torch.tensor([[0, 0.25, 0.5, 255 / 256]]))
    assert torch.allclose(torch_models.losses(model, inputs, labels),
                          torch.nn.functional.cross_entropy(scores, torch.tensor([2])))
    images = np.arange(64, dtype=np.uint8).reshape(2, 1, 4, 8)
    convnet = torch_models.Pixels((3,), (1, 4, 8), (2,))
    assert torch.equal(torch_models.losses(convnet, images, [0, 1]),
                       torch_models.losses(convnet, images.reshape(2, 32), [0, 1]))


def test_a_torchscript_module_says_its_losses_itself():
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        @torch.jit.export
        def loss(self, inputs, targets):
            return self.weight * inputs[:, 0] + targets

    found = torch_models.losses(torch.jit.script(Constant()), [[128], [0]], [3, 4])
    assert found.tolist() == [3.5, 4.0]
    with pytest.raises(ValueError, match="TorchScript"):
        torch_models.build(Spec(torchscript=protos.attribution.TorchScript(module_sha256="ab")))


def test_rows_of_a_text():
    inputs, labels = torch_models.text_rows("cabbage", "abceg", 3, [0, 3])
    assert inputs.tolist() == [[2, 0, 1], [1, 0, 4]] and labels.tolist() == [1, 3]
    assert inputs.dtype == labels.dtype == np.uint8
    for text, alphabet, starts in (("cabbage", "abce", [0]), ("cabbage", "abcegg", [0]),
                                   ("cabbage", "abceg", [4]), ("cabbage", "abceg", [-1])):
        with pytest.raises(ValueError):
            torch_models.text_rows(text, alphabet, 3, starts)
