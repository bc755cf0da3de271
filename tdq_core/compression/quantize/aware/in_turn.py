"""One walk through the network: every layer is refitted and rounded when the images arrive at it."""

import copy
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.layer_by_layer import FEW, require_memory
from tdq_core.compression.calibrate.sample import Sample
from tdq_core.compression.decompose.groups import groups_of
from tdq_core.compression.quantize.activation_grid import ActivationGrid, Histogram, Range
from tdq_core.compression.quantize.aware.feedback import OnGrid, round_with_feedback
from tdq_core.compression.quantize.aware.inner_chains import inner_chains
from tdq_core.compression.quantize.aware.quadratic import quadratic
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import RoundedWeight, round_weight, storable
from tdq_core.errors import RunFailed
from tdq_core.graph.calls import why_unpaired
from tdq_core.graph.change import change_inputs
from tdq_core.graph.modules import Layer, leaves
from tdq_core.graph.observe import Call, watch
from tdq_core.graph.walk import settle_in_turn
from tdq_core.system.progress import Progress, silent


@dataclass
class Settled:
    """A network's layers on their grids.

    Attributes:
        weights: by layer; biases: of those that have one.
        grids: of each layer's input, one for each of its calls in a pass; empty where activations stay floats.
        errors: by layer, the root of its outputs' relative mean squared error on the images.
        plain: why layers were rounded to the nearest point all the same, by name.
    """

    weights: dict[str, RoundedWeight] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    grids: dict[str, tuple[ActivationGrid, ...]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)


def settle_on_grids(
    model: nn.Module, layers: Mapping[str, Layer], schemes: Mapping[str, Scheme], images: Tensor, *,
    on_progress: Progress = silent,
) -> Settled:  # fmt: skip
    """The `layers` of `model` on the grids of their `schemes`, each fitted to what it makes of `images` (N, C, H, W).

    `model` is passed once for what its layers make, of which a bounded sample is kept, and a copy of it once more, its
    layers being rounded on the way. Layers that several names share a weight with, and those whose rows cannot be told
    apart by image, are rounded to the nearest point.

    Raises:
        NotNow: all images together need more memory than is free.
        RunFailed: the calls of a layer depend on the images, or its values are not finite.
    """
    walk = _Walk(model, layers, schemes, images, on_progress)
    walk.pass_floats()
    walk.pass_rounded()
    return walk.settled


class _Walk:
    def __init__(
        self, model: nn.Module, layers: Mapping[str, Layer], schemes: Mapping[str, Scheme], images: Tensor,
        on_progress: Progress,
    ) -> None:  # fmt: skip
        self._model, self._layers, self._schemes, self._images = model, layers, schemes, images
        self._on_progress = on_progress
        self._sample = Sample.of(model, layers, images[:1], len(images))
        self._reached = [name for name in layers if self._sample.calls(name)]
        unpaired = why_unpaired(model, self._reached, images[:FEW])
        self.settled = Settled(plain=_shared(layers) | unpaired)
        for name in layers:
            if name not in self._reached:
                self.settled.weights[name] = round_weight(layers[name].weight, schemes[name])
        self._wanted: dict[str, list[Tensor]] = {name: [] for name in self._reached}
        self._rows: dict[str, list[Tensor]] = {name: [] for name in self._reached}
        self._grids: dict[str, list[ActivationGrid]] = {name: [] for name in self._reached}
        usable = {name for name in self._reached if name not in self.settled.plain}
        self._chains = inner_chains(model, usable, schemes)
        self._patches: dict[str, list[Tensor]] = {first: [] for first in self._chains}
        self._found: dict[str, OnGrid] = {}

    def pass_floats(self) -> None:
        """Keep what the layers make in floats, at the places of the sample."""
        largest = 0

        def keep(call: Call) -> None:
            if call.name not in self.settled.plain:
                self._wanted[call.name].append(self._sample.outputs(call))

        def size(call: Call) -> None:
            nonlocal largest
            largest = max(largest, call.output.numel() // max(1, call.output.shape[:1].numel()))

        with watch(self._model, leaves(self._model), size), torch.no_grad():
            self._model(self._images[:1])
        again = any(self._sample.calls(name) > 1 for name in self._reached)
        require_memory(len(self._images), largest, again=again)
        self._sample.show(self._model, lambda: [self._images], keep, after=lambda _: None)

    def pass_rounded(self) -> None:
        """Round every layer of a copy as the images arrive at it."""
        self._on_progress("quantize", 0, len(self._reached))
        calls = {name: self._sample.calls(name) for name in self._reached}
        with torch.no_grad():
            settle_in_turn(copy.deepcopy(self._model), self._images, calls, see=self._see, settle=self._settle)

    def _see(self, name: str, index: int, inputs: Tensor) -> None:
        if levels := self._schemes[name].activation_levels:
            grid = least_error_grid(inputs, levels)
            self._grids[name].append(grid)
            inputs = grid.round(inputs)
        if name not in self.settled.plain:
            self._rows[name].append(self._sample.inputs(name, index, inputs))
        if chain := self._chains.get(name):
            self._patches[name].append(self._sample.inputs(chain.last, index, inputs, of=chain.dense))

    def _settle(self, name: str) -> nn.Module:
        layer = copy.deepcopy(self._layers[name])
        if name in self.settled.plain:
            rounded = round_weight(layer.weight, self._schemes[name])
        else:
            rounded = self._fitted(name, layer)
        layer.weight.data = rounded.to_weight()
        self.settled.weights[name] = rounded
        if grids := self._grids.pop(name):
            self.settled.grids[name] = tuple(grids)
            in_turn = itertools.cycle(grids)
            change_inputs(layer, {"": lambda values: next(in_turn).round(values)})
        self._on_progress("quantize", len(self.settled.weights), len(self._layers))
        return layer

    def _fitted(self, name: str, layer: Layer) -> RoundedWeight:
        """The weight on its grid; the bias of `layer` takes the mean."""
        rows, wanted = torch.cat(self._rows.pop(name)), torch.cat(self._wanted.pop(name))
        if len(rows) != len(wanted):
            raise RunFailed(f"The layer '{name}' sees inputs of other sizes in the rounded network than in floats.")
        if chain := self._chains.get(name):
            self._found |= chain.rounded(self._patches.pop(name), self._wanted[chain.last], self._schemes)
        scheme, bias = self._schemes[name], layer.bias
        flat = layer.weight.detach().flatten(1)
        error, means = quadratic(rows, wanted, flat, groups_of(layer), centred=bias is not None, name=name)
        start = self._found.get(name)
        last = any(name == chain.last for chain in self._chains.values())
        found = round_with_feedback(error, scheme, start=start) if last or start is None else start
        scale = found.scale.flatten()[:1] if scheme.granularity == "tensor" else found.scale.flatten()
        integers = found.integers.reshape(layer.weight.shape).to(torch.int8)
        rounded = RoundedWeight(integers, storable(scale.float()), scheme.weight_bits)
        if bias is not None:
            patches = means.patches.view(groups_of(layer), 1, -1)
            bias.data = (means.wanted - (found.to_weight() * patches).sum(2).flatten()).to(bias.dtype)
            self.settled.biases[name] = bias.data
        self.settled.errors[name] = _relative_error(layer, rounded, rows, wanted)
        return rounded


def _relative_error(layer: Layer, rounded: RoundedWeight, rows: Tensor, wanted: Tensor) -> float:
    """|made - wanted| / |wanted|; 0 where nothing is wanted."""
    groups = groups_of(layer)
    weight = rounded.to_weight().flatten(1).view(groups, -1, rows.shape[1] // groups)
    seen = rows.view(len(rows), groups, -1).transpose(0, 1)
    made = (seen @ weight.mT).transpose(0, 1).flatten(1)
    off = (made if layer.bias is None else made + layer.bias) - wanted
    whole = float(wanted.double().square().sum())
    return (float(off.double().square().sum()) / whole) ** 0.5 if whole else 0.0


def _shared(layers: Mapping[str, Layer]) -> dict[str, str]:
    names: dict[int, list[str]] = {}
    for name, layer in layers.items():
        names.setdefault(id(layer.weight), []).append(name)
    several: Iterable[list[str]] = (each for each in names.values() if len(each) > 1)
    return {name: f"it shares its weight with {', '.join(n for n in each if n != name)}"
            for each in several for name in each}  # fmt: skip


def least_error_grid(values: Tensor, levels: int) -> ActivationGrid:
    """The grid of least squared error of `values`, both of its ends searched."""
    within = Range()
    within.add(values)
    seen = Histogram(within)
    seen.add(values)
    return seen.finest(levels)
