"""Weights on a symmetric grid: integers times a scale, one scale per output channel or one in all."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.quantize.scheme import Scheme

SHARES = torch.linspace(1.0, 0.2, 100).tolist()
"""Ranges that the search for the least squared error tries, as shares of the largest absolute weight."""

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class RoundedWeight:
    """A weight on its grid.

    Attributes:
        integers: int8, of the weight's shape.
        scale: (C_out,) or (1,) float32, positive.
        bits: of an integer.
    """

    integers: Tensor
    scale: Tensor
    bits: int

    def to_weight(self) -> Tensor:
        """Integers times scale, float32."""
        return self.integers.float() * _by_row(self.scale, self.integers.ndim)


def round_weight(weight: Tensor, scheme: Scheme) -> RoundedWeight:
    """The weight (C_out, ...) float32, rounded to the nearest point of the grid of `scheme`; ties go to even."""
    scale = weight_scale(weight, scheme)
    scaled = weight.detach() / _by_row(scale, weight.ndim)
    integers = scaled.round().clamp(-scheme.weight_limit, scheme.weight_limit).to(torch.int8)
    return RoundedWeight(integers, scale, scheme.weight_bits)


def weight_scale(weight: Tensor, scheme: Scheme) -> Tensor:
    """(C_out,) or (1,): max|w| / limit, or with ranges 'mse' the one of SHARES of it with the least squared error.

    The whole range is tried first, and a smaller one is taken only where its error is lower: never worse than min-max.
    A channel of zeros gets the smallest positive scale.
    """
    rows = weight.detach().flatten(1) if scheme.granularity == "channel" else weight.detach().reshape(1, -1)
    widest = (rows.abs().amax(dim=1) / scheme.weight_limit).clamp_min(TINY)
    if scheme.ranges == "minmax":
        return widest
    best, least = widest, torch.full_like(widest, torch.inf)
    for share in SHARES:
        scale = (widest * share).clamp_min(TINY)
        scaled = rows / scale[:, None]
        off = scaled.round().clamp(-scheme.weight_limit, scheme.weight_limit) - scaled
        error = off.square().sum(dim=1) * (scale / widest).square()  # in units of the widest scale: no underflow
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def _by_row(scale: Tensor, ndim: int) -> Tensor:
    return scale.reshape(-1, *[1] * (ndim - 1))
