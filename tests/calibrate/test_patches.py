"""Rows of patches against torch's own layers."""

import pytest
import torch
from made_layers import normal
from torch import nn

from tdq_core.compression.calibrate import im2col as patches

LAYERS = [
    nn.Conv2d(5, 7, 3, padding=1),
    nn.Conv2d(5, 7, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    nn.Conv2d(5, 7, 3, padding="same", dilation=2),
    nn.Conv2d(5, 7, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(5, 7, 1, stride=2),
    nn.Conv2d(5, 7, 1, padding=1),
    nn.Conv2d(5, 7, (3, 2), stride=(1, 2), dilation=(2, 1), padding=(2, 1)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda la: str(la)[:60])
def test_rows_times_the_weight_are_the_layers_outputs(layer: nn.Conv2d) -> None:
    images = normal(3, 5, 9, 8)
    output = layer(images)
    chosen = torch.tensor([0, 3, patches.output_places(layer, output.shape) - 1])
    made = patches.input_rows(layer, images, chosen) @ layer.weight.flatten(1).T + layer.bias
    assert torch.allclose(made, patches.output_rows(output, chosen, convolution=True), atol=1e-5)
    assert patches.input_places(layer, images.shape) == patches.output_places(layer, output.shape)


def test_rows_of_a_linear_layer_on_tokens() -> None:
    layer, tokens = nn.Linear(6, 4), normal(2, 5, 6)
    chosen = torch.tensor([1, 4])
    made = patches.input_rows(layer, tokens, chosen) @ layer.weight.T + layer.bias
    assert torch.allclose(made, patches.output_rows(layer(tokens), chosen, convolution=False), atol=1e-6)
    assert patches.input_places(layer, tokens.shape) == patches.output_places(layer, layer(tokens).shape) == 5


def test_the_places_are_bounded_and_all_where_they_fit() -> None:
    (every,), (few,) = (patches.places([n], count, 0) for n, count in ((49, 10), (112 * 112, 1000)))
    assert every.tolist() == list(range(49))
    assert len(few) * 1000 <= patches.PATCHES and len(set(few.tolist())) == len(few)
    assert torch.equal(few, patches.places([112 * 112], 1000, 0)[0])
    assert len(patches.places([10], 10**9, 0)[0]) == 1 and patches.places([], 10, 0) == ()


@pytest.mark.parametrize("images, count", [(10, 100), (1000, 5)])
def test_the_calls_of_a_layer_are_looked_at_alike(images: int, count: int) -> None:
    """Each at as many places as the others, none of its own more than once oftener than another."""
    outputs = [100, 30, 1]
    chosen = patches.places(outputs, images, 0)
    assert [len(each) for each in chosen] == [count] * 3 and 3 * count * images <= patches.PATCHES
    for each, places in zip(chosen, outputs, strict=True):
        often = torch.bincount(each, minlength=places)
        assert len(often) == places and int(often.max() - often.min()) <= 1


@pytest.mark.parametrize("layer", [la for la in LAYERS if la.padding_mode == "zeros"], ids=lambda la: str(la)[:60])
def test_the_rows_are_those_of_torchs_own_unfolding(layer: nn.Conv2d) -> None:
    images = normal(3, layer.in_channels, 9, 8)
    padded = nn.functional.pad(images, layer._reversed_padding_repeated_twice)
    every = nn.functional.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    chosen = torch.randperm(every.shape[2], generator=torch.Generator().manual_seed(0))[:7]
    wanted = every[:, :, chosen].transpose(1, 2).flatten(0, 1)
    assert torch.equal(patches.input_rows(layer, images, chosen), wanted)
