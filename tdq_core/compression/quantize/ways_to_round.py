"""How the weights and inputs of layers come onto their grids: to the nearest point, or in the metric of outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.artefact import Request
from tdq_core.compression.quantize.aware.in_turn import settle_on_grids
from tdq_core.compression.quantize.calibration import calibration_chunks
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_layers import CHUNK_VALUES, Layers, input_grids
from tdq_core.compression.quantize.weight_grid import RoundedWeight, round_weight
from tdq_core.errors import InputError
from tdq_core.graph.modules import plain_layers
from tdq_core.specs.precision import Precision


@dataclass(frozen=True)
class OnGrids:
    """A network's plain layers on their grids.

    Attributes:
        weights, grids, biases: by layer; grids for each call of a layer, biases where they have moved.
        images: calibration images that were looked at.
        told: for the record; notes: for its reader.
    """

    weights: Mapping[str, RoundedWeight]
    grids: Mapping[str, tuple[ActivationGrid, ...]]
    images: int
    biases: Mapping[str, Tensor] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def put(self, layers: Layers) -> None:
        """Give `layers` the biases that have moved and, with them, the weights that these belong to."""
        for name, bias in self.biases.items():
            layers[name].bias.data = bias  # type: ignore[union-attr]
        if self.told:
            for name, rounded in self.weights.items():
                layers[name].weight.data = rounded.to_weight()


def nearest(plain: nn.Module, schemes: Mapping[str, Scheme], request: Request, precision: Precision) -> OnGrids:
    """Every weight to the nearest point of its grid; grids of inputs by the ranges of the request."""
    layers = plain_layers(plain)
    grids, images = (
        input_grids(plain, schemes, request, precision=precision.name) if precision.activation_bits else ({}, 0)
    )
    return OnGrids({name: round_weight(layer.weight, schemes[name]) for name, layer in layers.items()}, grids, images)


def aware(plain: nn.Module, schemes: Mapping[str, Scheme], request: Request, precision: Precision) -> OnGrids:
    """Layer after layer in the metric of its outputs, see `compression.quantize.aware`; grids of inputs of least error.

    InputError: no calibration images.
    """
    if request.calibration is None:
        raise InputError(
            f"Quantization-aware rounding to '{precision.name}' needs calibration images to see what layers make of "
            "them. Got none: name them as 'calib'."
        )
    images = torch.cat(list(calibration_chunks(request, values=CHUNK_VALUES, precision=precision.name)))
    settled = settle_on_grids(plain, plain_layers(plain), schemes, images, on_progress=request.on_progress)
    told = {
        "quantization_aware": True,
        "ranges": "least squared error",
        "output_errors": {name: float(f"{error:.4g}") for name, error in settled.errors.items()},
        "rounded_to_nearest": settled.plain,
    }
    notes = tuple(f"The layer '{name}' is rounded to the nearest point all the same: {why}."
                  for name, why in settled.plain.items())  # fmt: skip
    return OnGrids(settled.weights, settled.grids, len(images), settled.biases, told, notes)
