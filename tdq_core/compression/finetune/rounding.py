"""Rounding within training: the forward pass runs on the grids, the gradient passes as if nothing had been rounded.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (CVPR
2018); the straight-through gradient is that of Bengio, Leonard, Courville (2013).
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.condition.observe import following_norms
from tdq_core.compression.quantize.activation_grid import ActivationGrid, Range
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_layers import at_ends, ends, plain_layers
from tdq_core.compression.quantize.weight_grid import round_weight

KEPT = 0.9
"""Share of a layer's earlier range that stays when a batch comes: its smallest and largest input, as moving means."""


class InRounding:
    """A model whose plain layers compute on the grids of `scheme` while the model itself stays float.

    The grids are those of the quantizers: weights after the following batch norm is folded in, inputs of layers per
    tensor, 8 bits at both ends. Ranges are min-max, those of inputs as moving means over the batches of training.

    Attributes:
        ranges: layer name -> (smallest, largest) input, zero within; empty before the first batch.
    """

    def __init__(self, model: nn.Module, scheme: Scheme, example: Tensor) -> None:
        self.model = model
        self.ranges: dict[str, tuple[float, float]] = {}
        self._layers = plain_layers(model)
        outer = ends(model, self._layers, example)
        plain = dataclasses.replace(scheme, ranges="minmax")
        self._schemes = {name: at_ends(plain) if name in outer else plain for name in self._layers}
        self._norms = following_norms(model, list(self._layers), example)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of the rounded model; gradients reach the float weights."""
        weights = {f"{name}.weight": self._weight(name) for name in self._layers}
        with self._inputs_rounded():
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
        weight = self._layers[name].weight
        if name not in self._norms:
            return weight.new_ones(len(weight))
        norm = self.model.get_submodule(self._norms[name])
        assert isinstance(norm, nn.BatchNorm2d)
        if norm.running_var is None:
            return weight.new_ones(len(weight))
        gain = (norm.running_var + norm.eps).rsqrt()
        return (gain if norm.weight is None else gain * norm.weight.abs()).clamp_min(1e-12)

    @contextmanager
    def _inputs_rounded(self) -> Iterator[None]:
        rounding = {n: s for n, s in self._schemes.items() if s.activation_levels is not None}
        hooks = [self._layers[n].register_forward_pre_hook(self._before(n, s)) for n, s in rounding.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, name: str, scheme: Scheme) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        levels = scheme.activation_levels
        assert levels is not None, "asked for only where activations are rounded"

        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            low, high = self._follow(name, args[0])
            return (ActivationGrid.spanning(low, high, levels).round(args[0]), *args[1:])

        return before

    def _follow(self, name: str, values: Tensor) -> tuple[float, float]:
        seen = Range()
        seen.add(values)
        low, high = self.ranges.get(name, (seen.low, seen.high))
        self.ranges[name] = (KEPT * low + (1 - KEPT) * seen.low, KEPT * high + (1 - KEPT) * seen.high)
        return self.ranges[name]
