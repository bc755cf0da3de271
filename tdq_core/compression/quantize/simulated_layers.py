"""Which layers are rounded to how many bits, the grids of their inputs, and running a model on its grids."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.activation_grid import ActivationGrid, Histogram, Range
from tdq_core.compression.quantize.artefact import Request
from tdq_core.compression.quantize.calibration import calibration_chunks
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_file import Simulated
from tdq_core.errors import RunFailed
from tdq_core.graph.change import change_inputs_by_call
from tdq_core.graph.ends import ends
from tdq_core.graph.modules import Layer, children, of_kind, plain_layers
from tdq_core.graph.observe import Call, watch
from tdq_core.graph.stand_in import Factored
from tdq_core.graph.state import load_once
from tdq_core.ranks.bits import END_BITS

CHUNK_VALUES = 2**21
"""Input values of a calibration step: 13 images of 224 px."""

Layers = Mapping[str, Layer]
Key = tuple[str, int]
"""A layer's name and the number of its call in a pass."""


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


def by_layer(names: Iterable[str], scheme: Scheme, bits: Mapping[str, int]) -> dict[str, Scheme]:
    """By name the schemes of the plain layers `names`, a factor's being that of the layer that it is of; `bits` are
    those of the weights of layers that have others than `scheme`."""
    found = {}
    for name in names:
        of = next((layer for layer in bits if name == layer or name.startswith(f"{layer}.")), None)
        found[name] = scheme.with_weights_of(bits[of] if of is not None else None)
    return found


def inside(model: nn.Module, schemes: Mapping[str, Scheme], bits: int | None) -> dict[str, Scheme]:
    """By name the schemes of the layers that take an activation inside a decomposed layer, where those have `bits` of
    their own."""
    inner = [f"{name}.{key}" for name, module in of_kind(model, Factored).items() for key in list(children(module))[1:]]
    rounded = [] if bits is None else [name for name in inner if name in schemes and schemes[name].activation_bits]
    return {name: dataclasses.replace(schemes[name], activation_bits=bits) for name in rounded}


def input_grids(
    model: nn.Module, schemes: Mapping[str, Scheme], request: Request, *, precision: str
) -> tuple[dict[str, tuple[ActivationGrid, ...]], int]:
    """The grids of each layer's input, one for each of its calls in a pass, over the calibration images, and how many
    those are.

    Ranges 'minmax' take one pass, 'mse' two: the first finds the range that the histograms of the second are laid in,
    so neither depends on how the images are batched. Layers that no image reaches have no grid.

    InputError: no calibration images.
    """
    layers = plain_layers(model)
    ranges: dict[Key, Range] = {}

    def see(key: Key, values: Tensor) -> None:
        ranges.setdefault(key, Range()).add(values)

    images = _pass(model, layers, see, request, precision)
    seen: Mapping[Key, Range | Histogram] = ranges
    if any(scheme.ranges != "minmax" for scheme in schemes.values()):
        histograms = {key: Histogram(within) for key, within in ranges.items()}
        _pass(model, layers, lambda key, values: histograms[key].add(values), request, precision)
        seen = histograms
    names = dict.fromkeys(name for name, _ in ranges)
    calls = {name: [seen[key] for key in sorted(ranges) if key[0] == name] for name in names}
    return {n: tuple(each.grid(levels_of(schemes[n])) for each in found) for n, found in calls.items()}, images


def levels_of(scheme: Scheme) -> int:
    assert scheme.activation_levels is not None, "asked for only where activations are rounded"
    return scheme.activation_levels


def running(model: nn.Module, simulated: Simulated) -> nn.Module:
    """A copy of `model` with the weights of `simulated` that rounds the inputs of its layers."""
    copied = copy.deepcopy(model)
    load_once(copied, simulated.state_dict())
    change_inputs_by_call(copied, {n: [grid.round for grid in calls] for n, calls in simulated.activations.items()})
    return copied


def require_on_grids(model: nn.Module, simulated: Simulated, example: Tensor) -> int:
    """How many inputs of layers are on the grid of their call as `example` passes; RunFailed where one is not."""
    off: list[str] = []
    seen = 0

    def see(call: Call) -> None:
        nonlocal seen
        grids = simulated.activations[call.name]
        grid = grids[min(call.index, len(grids) - 1)]
        seen += 1
        if not torch.equal(grid.round(call.input), call.input):
            off.append(call.name)

    with watch(model, simulated.activations, see), torch.no_grad():
        model(example)
    if off:
        raise RunFailed(f"The inputs of {', '.join(dict.fromkeys(off))} are not on their grids: run it at int8.")
    return seen


def _pass(
    model: nn.Module, layers: Layers, see: Callable[[Key, Tensor], None], request: Request, precision: str
) -> int:
    """Show every layer's inputs over the calibration images to `see`; returns the number of images."""
    images = 0
    with watch(model, layers, lambda call: see((call.name, call.index), call.input)), torch.no_grad():
        for chunk in calibration_chunks(request, values=CHUNK_VALUES, precision=precision):
            model(chunk)
            images += len(chunk)
    return images
