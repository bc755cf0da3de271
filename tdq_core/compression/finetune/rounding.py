"""Rounding within training: the forward pass runs on the grids, the gradient passes as if nothing had been rounded.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (CVPR
2018); the straight-through gradient is that of Bengio, Leonard, Courville (2013).
"""

import dataclasses
from collections import Counter
from functools import partial

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.activation_grid import ActivationGrid, Range
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_layers import at_ends, levels_of, rounded_ends
from tdq_core.compression.quantize.weight_grid import round_weight
from tdq_core.graph.change import inputs_changed
from tdq_core.graph.modules import plain_layers
from tdq_core.graph.norms import gain_of
from tdq_core.graph.uses import following_norms

KEPT = 0.9
"""Share of a layer's earlier range that stays when a batch comes: its smallest and largest input, as moving means."""


class InRounding:
    """A model whose plain layers compute on the grids of `scheme` while the model itself stays float.

    The grids are those of the quantizers: weights after the following batch norm is folded in, inputs of layers per
    tensor, 8 bits at both ends. Ranges are min-max, those of inputs as moving means over the batches of training.

    Attributes:
        ranges: layer name -> (smallest, largest) input, zero within; empty before the first batch. A layer that is
            called again in a pass has a range for each call, under 'name#1', 'name#2' and so on.
    """

    def __init__(self, model: nn.Module, scheme: Scheme, example: Tensor) -> None:
        self.model = model
        self.ranges: dict[str, tuple[float, float]] = {}
        self._calls: Counter[str] = Counter()
        self._layers = plain_layers(model)
        outer = rounded_ends(model, self._layers, example)
        plain = dataclasses.replace(scheme, ranges="minmax")
        self._schemes = {name: at_ends(plain) if name in outer else plain for name in self._layers}
        self._norms = following_norms(model, self._layers, example)
        activations = {name: s for name, s in self._schemes.items() if s.activation_levels is not None}
        self._changes = {name: partial(self._on_grid, name, levels_of(s)) for name, s in activations.items()}

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of the rounded model; gradients reach the float weights."""
        weights = {f"{name}.weight": self._weight(name) for name in self._layers}
        self._calls.clear()
        with inputs_changed(self.model, self._changes):
            logits: Tensor = torch.func.functional_call(self.model, weights, (images,))
        return logits

    def _weight(self, name: str) -> Tensor:
        weight = self._layers[name].weight
        with torch.no_grad():
            gain = self._gain(name).reshape(-1, *[1] * (weight.ndim - 1))
            rounded = round_weight(weight * gain, self._schemes[name]).to_weight() / gain
        return weight + (rounded - weight).detach()

    def _gain(self, name: str) -> Tensor:
        """(C_out,), positive: what the batch norm that follows multiplies each output by; ones where there is none."""
        if name not in self._norms:
            weight = self._layers[name].weight
            return weight.new_ones(len(weight))
        return gain_of(self.model.get_submodule(self._norms[name])).abs().clamp_min(1e-12)

    def _on_grid(self, name: str, levels: int, values: Tensor) -> Tensor:
        call = self._calls[name]
        self._calls[name] += 1
        low, high = self._follow(f"{name}#{call}" if call else name, values)
        return ActivationGrid.spanning(low, high, levels).round(values)

    def _follow(self, name: str, values: Tensor) -> tuple[float, float]:
        seen = Range()
        seen.add(values)
        low, high = self.ranges.get(name, (seen.low, seen.high))
        self.ranges[name] = (KEPT * low + (1 - KEPT) * seen.low, KEPT * high + (1 - KEPT) * seen.high)
        return self.ranges[name]
