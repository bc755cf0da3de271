"""Packed integers as they were written up to version 0.13: a tensor for each weight and for each of its scales."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.packing import unpack
from tdq_core.compression.quantize.weight_grid import RoundedWeight

Grids = dict[str, tuple[ActivationGrid, ...]]


def read_format_1(about: Mapping[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, RoundedWeight], Grids]:
    """Weights and grids by layer, taken out of `tensors`.

    'L.weight' is uint8, 'L.weight.scale' float32; 'activations.scale' and 'activations.zero_point' hold one number for
    each call. `about`: {"weights": {layer: [bits, shape]}, "activations": {layer: bits or [bits, calls]}}.
    """
    weights = {}
    for name, (bits, shape) in about["weights"].items():
        integers = unpack(tensors.pop(f"{name}.weight").numpy(), bits, tuple(shape))
        weights[name] = RoundedWeight(torch.from_numpy(integers), tensors.pop(f"{name}.weight.scale"), bits)
    activations = {}
    if about["activations"]:
        scales, zeros = tensors.pop("activations.scale").tolist(), tensors.pop("activations.zero_point").tolist()
        numbers = zip(scales, zeros, strict=True)
        for name, told in about["activations"].items():
            bits, calls = told if isinstance(told, list) else (told, 1)
            grids = itertools.islice(numbers, calls)
            activations[name] = tuple(ActivationGrid(scale, zero, 2**bits - 1) for scale, zero in grids)
    return weights, activations
