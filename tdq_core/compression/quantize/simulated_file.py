"""The file of simulated bits: packed integers, scales, and what stays fp32, in one safetensors file.

The layers' numbers stand one after another, each layer from a byte of its own, for a header with a name for each would
be a good part of a small network's file:

    tdq.integers     uint8: the packed weights, see `packing`
    tdq.scales       float16: one for each output channel of a layer, or one a layer, times two to the power of
    tdq.units        int8: one a layer
    tdq.biases       float32: of the layers that have one
    tdq.steps, tdq.zero_points   float32 and uint8: one for each call of a layer whose input is rounded

The metadata 'tdq' is JSON: {"format": 2, "granularity": "channel" or "tensor", "layers": {layer: [bits, shape, biases,
bits of its input, calls]}}, in the order of those numbers, the last two left out where inputs are not rounded. Every
other tensor is as in the model's state dict. Files of format 1 are read as well: a tensor for each weight and scale.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.packing import pack, packed_size, unpack
from tdq_core.compression.quantize.simulated_format_1 import read_format_1
from tdq_core.compression.quantize.weight_grid import RoundedWeight, from_halves, in_halves, unit_of
from tdq_core.ranks.packed import (
    ABOUT,
    BIASES,
    FORMAT,
    INTEGERS,
    SCALE_BYTES,
    SCALES,
    STEPS,
    UNITS,
    ZERO_POINTS,
)


@dataclass(frozen=True)
class Simulated:
    """A model on its grids.

    Attributes:
        weights: by layer name.
        activations: grids of the layer's input in each of its calls in a pass, by layer name; a single one is of all.
        rest: what stays fp32, by name in the state dict.
    """

    weights: Mapping[str, RoundedWeight]
    activations: Mapping[str, tuple[ActivationGrid, ...]]
    rest: Mapping[str, Tensor]

    def state_dict(self) -> dict[str, Tensor]:
        """The model's state dict, weights back in float32."""
        return {f"{name}.weight": weight.to_weight() for name, weight in self.weights.items()} | dict(self.rest)

    def bytes_of(self, name: str) -> int:
        """What the tensor of the model's state dict takes in the file."""
        weight = self.weights.get(name.removesuffix(".weight"))
        if weight is None or not name.endswith(".weight"):
            return self.rest[name].nbytes
        return packed_size(weight.integers.numel(), weight.bits) + SCALE_BYTES * weight.scale.numel()

    def numbers_by_type(self) -> dict[str, int]:
        """How many numbers the file holds of each type; packed integers count as what they are."""
        counts: dict[str, int] = {}
        numbers = [(f"int{w.bits}", w.integers.numel()) for w in self.weights.values()]
        numbers += [(_type_of(t), t.numel()) for t in self.rest.values()]
        numbers += [("float16", sum(w.scale.numel() for w in self.weights.values())), ("int8", len(self.weights))]
        if self.activations:
            grids = sum(len(calls) for calls in self.activations.values())
            numbers += [("float32", grids), ("uint8", grids)]
        for kind, count in numbers:
            counts[kind] = counts.get(kind, 0) + count
        return counts


def save_simulated(model: Simulated, path: Path) -> None:
    """Write `model` to `path`; scales that are not `storable` are rounded to what is."""
    layers = model.weights
    own = {name: model.rest[f"{name}.bias"] for name in layers if _has_bias(model, name)}
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in model.rest.items()
               if name not in {f"{layer}.bias" for layer in own}}  # fmt: skip
    integers = [pack(w.integers.numpy(), w.bits) for w in layers.values()]
    units = [unit_of(w.scale) for w in layers.values()]
    scales = [in_halves(w.scale, unit) for w, unit in zip(layers.values(), units, strict=True)]
    grids = [grid for name in layers for grid in model.activations.get(name, ())]
    tensors[INTEGERS] = torch.from_numpy(np.concatenate([*integers, np.empty(0, np.uint8)]))
    tensors[SCALES] = torch.cat([*scales, torch.empty(0, dtype=torch.float16)])
    tensors[UNITS] = torch.tensor(units, dtype=torch.int8)
    tensors[BIASES] = torch.cat([*(bias.detach() for bias in own.values()), torch.empty(0)])
    if grids:
        tensors[STEPS] = torch.tensor([grid.scale for grid in grids], dtype=torch.float32)
        tensors[ZERO_POINTS] = torch.tensor([grid.zero_point for grid in grids], dtype=torch.uint8)
    about = {
        "format": FORMAT,
        "granularity": "channel" if all(len(w.scale) == len(w.integers) for w in layers.values()) else "tensor",
        "layers": {
            name: [w.bits, list(w.integers.shape), len(own.get(name, ())), *_told(model.activations.get(name, ()))]
            for name, w in layers.items()
        },
    }
    save_file(tensors, path, metadata={ABOUT: json.dumps(about, separators=(",", ":"))})


def load_simulated(path: Path) -> Simulated:
    """What `save_simulated` wrote, now or in earlier formats."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()[ABOUT])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if "format" not in about:
        return Simulated(*read_format_1(about, tensors), tensors)
    if about["format"] != FORMAT:
        raise ValueError(f"Packed integers of format {about['format']}: this TDQ reads up to {FORMAT}")
    integers, scales, units, biases = (_Reader(tensors.pop(name)) for name in (INTEGERS, SCALES, UNITS, BIASES))
    steps, zeros = (_Reader(tensors.pop(name, torch.empty(0))) for name in (STEPS, ZERO_POINTS))
    weights, activations = {}, {}
    for name, (bits, shape, bias, *inputs) in about["layers"].items():
        if not 2 <= bits <= 8 or (inputs and not 1 <= inputs[0] <= 8):
            raise ValueError(f"The layer '{name}' has {bits} bits and inputs of {inputs}")
        packed = integers.take(packed_size(math.prod(shape), bits)).numpy()
        halves = scales.take(shape[0] if about["granularity"] == "channel" else 1)
        scale = from_halves(halves, int(units.take(1)))
        weights[name] = RoundedWeight(torch.from_numpy(unpack(packed, bits, tuple(shape))), scale, bits)
        if bias:
            tensors[f"{name}.bias"] = biases.take(bias).clone()
        if inputs:
            levels, calls = 2 ** inputs[0] - 1, inputs[1]
            pairs = zip(steps.take(calls).tolist(), zeros.take(calls).tolist(), strict=True)
            activations[name] = tuple(ActivationGrid(step, int(zero), levels) for step, zero in pairs)
    for reader in (integers, scales, units, biases, steps, zeros):
        reader.require_end()
    return Simulated(weights, activations, tensors)


class _Reader:
    """Takes numbers from the front of a tensor; ValueError where there are fewer, or more than are taken."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._at = tensor, 0

    def take(self, count: int) -> Tensor:
        start, self._at = self._at, self._at + count
        if count < 0 or self._at > len(self._tensor):
            raise ValueError("It holds fewer numbers than it says")
        return self._tensor[start : self._at]

    def require_end(self) -> None:
        if self._at != len(self._tensor):
            raise ValueError("It holds more numbers than it says")


def _has_bias(model: Simulated, name: str) -> bool:
    bias = model.rest.get(f"{name}.bias")
    return bias is not None and bias.dtype == torch.float32 and len(bias) == len(model.weights[name].integers)


def _told(calls: tuple[ActivationGrid, ...]) -> list[int]:
    """Bits of a layer's input, and in how many calls; nothing where it is not rounded."""
    return [calls[0].levels.bit_length(), len(calls)] if calls else []


def _type_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
