"""Which layers are rounded to how many bits, the grids of their inputs, and running a model on its grids."""

import copy
import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.activation_grid import ActivationGrid, Histogram, Range
from tdq_core.compression.quantize.artefact import Request
from tdq_core.compression.quantize.calibration import calibration_chunks
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_file import Simulated
from tdq_core.graph.change import change_inputs
from tdq_core.graph.ends import ends
from tdq_core.graph.modules import Layer, of_kind, plain_layers
from tdq_core.graph.observe import watch
from tdq_core.graph.state import load_once

CHUNK_VALUES = 2**21
"""Input values of a calibration step: 13 images of 224 px."""

END_BITS = 8

Layers = Mapping[str, Layer]


def other_layers(model: nn.Module) -> list[str]:
    """Names of layers that compute something of their own with a weight, and so stay fp32."""
    plain = plain_layers(model)
    return [name for name in of_kind(model, nn.modules.conv._ConvNd, nn.Linear) if name not in plain]


def rounded_ends(model: nn.Module, layers: Layers, example: Tensor) -> tuple[str, ...]:
    """Names of the layers at both ends of `model`, as far as they are among those that are rounded."""
    return tuple(name for name in ends(model, example[:2]).names if name in layers)


def at_ends(scheme: Scheme) -> Scheme:
    """The scheme of the first and the last layer: 8 bits wherever `scheme` rounds."""
    activations = None if scheme.activation_bits is None else END_BITS
    return dataclasses.replace(scheme, weight_bits=END_BITS, activation_bits=activations)


def input_grids(
    model: nn.Module, schemes: Mapping[str, Scheme], request: Request, *, precision: str
) -> tuple[dict[str, ActivationGrid], int]:
    """The grid of each layer's input over the calibration images, and how many those are.

    Ranges 'minmax' take one pass, 'mse' two: the first finds the range that the histograms of the second are laid in,
    so neither depends on how the images are batched. Layers that no image reaches have no grid.

    InputError: no calibration images.
    """
    layers = plain_layers(model)
    ranges = {name: Range() for name in layers}
    reached: dict[str, int] = {}

    def see(name: str, values: Tensor) -> None:
        reached[name] = levels_of(schemes[name])
        ranges[name].add(values)

    images = _pass(model, layers, see, request, precision)
    if all(scheme.ranges == "minmax" for scheme in schemes.values()):
        return {name: ranges[name].grid(levels) for name, levels in reached.items()}, images
    histograms = {name: Histogram(ranges[name]) for name in reached}
    _pass(model, layers, lambda name, values: histograms[name].add(values), request, precision)
    return {name: histograms[name].grid(levels) for name, levels in reached.items()}, images


def levels_of(scheme: Scheme) -> int:
    assert scheme.activation_levels is not None, "asked for only where activations are rounded"
    return scheme.activation_levels


def running(model: nn.Module, simulated: Simulated) -> nn.Module:
    """A copy of `model` with the weights of `simulated` that rounds the inputs of its layers."""
    copied = copy.deepcopy(model)
    load_once(copied, simulated.state_dict())
    change_inputs(copied, {name: grid.round for name, grid in simulated.activations.items()})
    return copied


def _pass(
    model: nn.Module, layers: Layers, see: Callable[[str, Tensor], None], request: Request, precision: str
) -> int:
    """Show every layer's inputs over the calibration images to `see`; returns the number of images."""
    images = 0
    with watch(model, layers, lambda call: see(call.name, call.input)), torch.no_grad():
        for chunk in calibration_chunks(request, values=CHUNK_VALUES, precision=precision):
            model(chunk)
            images += len(chunk)
    return images
