"""The file of simulated bits: packed integers, scales, and what stays fp32, in one safetensors file.

Of a layer 'L': 'L.weight' (uint8, see `packing`) and 'L.weight.scale' (float32, one per output channel or one).
'activations.scale' and 'activations.zero_point' hold one number for each layer whose input is rounded, or one for each
of its calls in a pass. The metadata 'tdq' is JSON: {"weights": {layer: [bits, shape]}, "activations": {layer: bits}},
the second in the order of those numbers; a layer with several has [bits, calls] there. Every other tensor is as
in the model's state dict.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.packing import pack, packed_size, unpack
from tdq_core.compression.quantize.weight_grid import RoundedWeight

SCALES, ZERO_POINTS = "activations.scale", "activations.zero_point"
ABOUT = "tdq"
"""The key of the metadata."""


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
        return packed_size(weight.integers.numel(), weight.bits) + weight.scale.nbytes

    def numbers_by_type(self) -> dict[str, int]:
        """How many numbers the file holds of each type; packed integers count as what they are."""
        counts: dict[str, int] = {}
        numbers = [(f"int{w.bits}", w.integers.numel()) for w in self.weights.values()]
        numbers += [(_type_of(t), t.numel()) for t in (*self.rest.values(), *(w.scale for w in self.weights.values()))]
        if self.activations:
            grids = sum(len(calls) for calls in self.activations.values())
            numbers += [("float32", grids), ("uint8", grids)]
        for kind, count in numbers:
            counts[kind] = counts.get(kind, 0) + count
        return counts


def save_simulated(model: Simulated, path: Path) -> None:
    """Write `model` to `path`."""
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in model.rest.items()}
    for name, weight in model.weights.items():
        tensors[f"{name}.weight"] = torch.from_numpy(pack(weight.integers.numpy(), weight.bits))
        tensors[f"{name}.weight.scale"] = weight.scale
    grids = [grid for calls in model.activations.values() for grid in calls]
    if model.activations:
        tensors[SCALES] = torch.tensor([grid.scale for grid in grids], dtype=torch.float32)
        tensors[ZERO_POINTS] = torch.tensor([grid.zero_point for grid in grids], dtype=torch.uint8)
    about = {
        "weights": {name: [w.bits, list(w.integers.shape)] for name, w in model.weights.items()},
        "activations": {name: _told(calls) for name, calls in model.activations.items()},
    }
    save_file(tensors, path, metadata={ABOUT: json.dumps(about, separators=(",", ":"))})


def load_simulated(path: Path) -> Simulated:
    """What `save_simulated` wrote."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()[ABOUT])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    weights = {}
    for name, (bits, shape) in about["weights"].items():
        integers = unpack(tensors.pop(f"{name}.weight").numpy(), bits, tuple(shape))
        weights[name] = RoundedWeight(torch.from_numpy(integers), tensors.pop(f"{name}.weight.scale"), bits)
    activations = {}
    if about["activations"]:
        numbers = zip(tensors.pop(SCALES).tolist(), tensors.pop(ZERO_POINTS).tolist(), strict=True)
        for name, told in about["activations"].items():
            bits, calls = told if isinstance(told, list) else (told, 1)
            grids = itertools.islice(numbers, calls)
            activations[name] = tuple(ActivationGrid(scale, zero, 2**bits - 1) for scale, zero in grids)
    return Simulated(weights, activations, tensors)


def _told(calls: tuple[ActivationGrid, ...]) -> int | list[int]:
    bits = calls[0].levels.bit_length()
    return bits if len(calls) == 1 else [bits, len(calls)]


def _type_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
