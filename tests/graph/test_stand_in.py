"""What a forward may ask of a layer, what stands in its place answers too; not for values that are not there."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from tdq_core.compression.decompose.plain_layers import linear_layers, tucker2_layers
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2
from tdq_core.graph.stand_in import FACTS, Factored

CONV, LINEAR = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Linear(6, 8)
MADE = (
    (CONV, tucker2_layers(CONV, Tucker2(torch.rand(2, 3, 3, 3), torch.rand(8, 2), torch.rand(6, 3), ()))),
    (LINEAR, linear_layers(LINEAR, Svd(torch.rand(8, 2), torch.rand(2, 6, 1, 1)))),
)


@pytest.mark.parametrize("like, made", MADE)
def test_it_says_of_itself_what_the_layer_says(like: nn.Module, made: Factored) -> None:
    for each in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        for name in FACTS:
            assert getattr(each, name, None) == getattr(like, name, None), name
        weight, told = like.weight, each.weight
        assert (told.shape, told.dtype, told.device, told.ndim) == (
            weight.shape,
            weight.dtype,
            weight.device,
            weight.ndim,
        )
        assert told.size(0) == len(weight) and told.numel() == weight.numel() and torch.equal(each.bias, like.bias)
    assert copy.deepcopy(made).half().weight.dtype == torch.float16
    assert not any("said" in name for name in made.state_dict())


def test_it_gives_no_values() -> None:
    _, made = MADE[1]
    with pytest.raises((TypeError, AttributeError)):
        functional.linear(torch.rand(1, 6), made.weight)
    with pytest.raises(AttributeError, match="no attribute 'running_mean'"):
        _ = made.running_mean
