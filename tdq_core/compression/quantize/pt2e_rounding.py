"""The rounding of PT2E done by hand: what a converted program must compute, found without converting anything."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from tdq_core.graph.modules import of_kind
from tdq_core.graph.replace import replace

if TYPE_CHECKING:
    from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

SMALLEST = torch.finfo(torch.float32).eps
"""Of a scale."""


def rounded_by_hand(prepared: GraphModule) -> nn.Module:
    """A copy of the calibrated graph, each observer of a range turned into the rounding to the grid of that range.

    Weights: integers within +-limit times max|w| / limit, per output channel or per tensor. Activations: 0 ... 255,
    from the smallest to the largest value seen, zero on the grid. Ties go to even.
    """
    from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

    copied = copy.deepcopy(prepared)
    observers = of_kind(copied, UniformQuantizationObserverBase)
    return replace(copied, {name: _rounding(observer) for name, observer in observers.items()})


class _Weight(nn.Module):
    """Rounds (C_out, ...) to integers within +-`limit`."""

    def __init__(self, limit: int, per_channel: bool) -> None:
        super().__init__()
        self.limit, self.per_channel = limit, per_channel

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1) if self.per_channel else weight.reshape(1, -1)
        scale = (rows.abs().amax(dim=1) / self.limit).clamp_min(SMALLEST).reshape(-1, *[1] * (weight.ndim - 1))
        return (weight * (1 / scale)).round().clamp(-self.limit, self.limit) * scale


class _Activation(nn.Module):
    """Rounds to the integers `low` ... `high` of the grid that spans `smallest` <= 0 to `largest` >= 0."""

    def __init__(self, smallest: Tensor, largest: Tensor, low: int, high: int) -> None:
        super().__init__()
        scale = ((largest - smallest) / (high - low)).clamp_min(SMALLEST)
        self.scale, self.low, self.high = float(scale), low, high
        self.zero_point = min(max(low - int(torch.round(smallest / scale)), low), high)

    def forward(self, values: Tensor) -> Tensor:
        integers = ((values * (1 / self.scale)).round() + self.zero_point).clamp(self.low, self.high)
        return (integers - self.zero_point) * self.scale


def _rounding(observer: "UniformQuantizationObserverBase") -> nn.Module:
    if observer.dtype == torch.int8:
        return _Weight(observer.quant_max, getattr(observer, "ch_axis", -1) == 0)
    smallest, largest = observer.min_val.clamp_max(0), observer.max_val.clamp_min(0)
    return _Activation(smallest, largest, observer.quant_min, observer.quant_max)
