"""Weights on a symmetric grid: integers times a scale, one scale per output channel or one in all."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.quantize.scheme import Scheme

SHARES = torch.linspace(1.0, 0.2, 100).tolist()
"""Ranges that the search for the least squared error tries, as shares of the largest absolute weight."""

TINY = torch.finfo(torch.float32).tiny
LEAST_HALF = 2.0**-24


@dataclass(frozen=True)
class RoundedWeight:
    """A weight on its grid.

    Attributes:
        integers: int8, of the weight's shape.
        scale: (C_out,) or (1,) float32, positive; `storable` ones are kept exactly.
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
    """(C_out,) or (1,), storable: max|w| / limit, or with ranges 'mse' that one of SHARES of it with the least squared
    error.

    The whole range is tried first, and a smaller one is taken only where its error is lower: never worse than min-max.
    A channel of zeros gets the smallest positive scale.
    """
    rows = weight.detach().flatten(1) if scheme.granularity == "channel" else weight.detach().reshape(1, -1)
    widest = storable((rows.abs().amax(dim=1) / scheme.weight_limit).clamp_min(TINY), above=True)
    if scheme.ranges == "minmax":
        return widest
    best, least, unit = widest, torch.full_like(widest, torch.inf), unit_of(widest)
    for share in SHARES:
        scale = from_halves(in_halves(widest * share, unit), unit)
        scaled = rows / scale[:, None]
        off = scaled.round().clamp(-scheme.weight_limit, scheme.weight_limit) - scaled
        error = off.square().sum(dim=1) * (scale / widest).square()  # in units of the widest scale: no underflow
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return storable(best)


def storable(scale: Tensor, *, above: bool = False) -> Tensor:
    """The nearest scales, (n,) float32, that a file holds: of 11 significant bits, coarser far below the largest, never
    zero; `above`: none that is smaller than it was asked for."""
    for _ in range(2):  # the largest may rise to the next power of two, which moves the unit
        halves = in_halves(scale, unit := unit_of(scale))
        if above:
            halves = torch.where(from_halves(halves, unit) < scale, _next(halves), halves)
        scale = from_halves(halves, unit)
    return scale


def unit_of(scale: Tensor) -> int:
    """The power of two that a file multiplies these scales by."""
    return int(torch.frexp(scale.detach().max().double()).exponent) - 1


def in_halves(scale: Tensor, unit: int) -> Tensor:
    """As float16 in [2^-24, 2], over two to the power of `unit`: exact where they are `storable`."""
    return (scale.detach().double() * 2.0**-unit).clamp_min(LEAST_HALF).half()


def from_halves(halves: Tensor, unit: int) -> Tensor:
    """The inverse of `in_halves`."""
    return (halves.double() * 2.0**unit).float().clamp_min(TINY)


def _next(halves: Tensor) -> Tensor:
    """The next larger ones; all are positive."""
    return (halves.view(torch.int16) + 1).view(torch.float16)


def _by_row(scale: Tensor, ndim: int) -> Tensor:
    return scale.reshape(-1, *[1] * (ndim - 1))
