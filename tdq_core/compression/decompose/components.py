"""The components of a CP: how far they cancel each other, what noise on them does, and their even spread.

Components of nearly opposite sign can grow without bound and cancel; what is then rounded no longer does.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.factors import Details


class Degeneracy(Details, frozen=True):
    """How far the components of a CP cancel each other: what predicts trouble under quantization.

    Attributes:
        log10_norms: log10 of the sum of squared component norms over |W|^2; 0 where nothing cancels.
        sensitivity: expected squared change over |W|^2, per unit of variance of noise on every entry of the factors.
        largest_component, smallest_component: norms over |W|.
    """

    log10_norms: float = 0.0
    sensitivity: float = 0.0
    largest_component: float = 0.0
    smallest_component: float = 0.0

    @classmethod
    def joined(cls, parts: Sequence[Self], shares: Sequence[float]) -> Self:
        """Of all components of all groups, over the whole kernel's norm."""
        sums = sum(share * 10**part.log10_norms for part, share in zip(parts, shares, strict=True))
        roots = [math.sqrt(share) for share in shares]
        return cls(
            log10_norms=math.log10(sums),
            sensitivity=sum(share * part.sensitivity for part, share in zip(parts, shares, strict=True)),
            largest_component=max(root * part.largest_component for part, root in zip(parts, roots, strict=True)),
            smallest_component=min(root * part.smallest_component for part, root in zip(parts, roots, strict=True)),
        )


def degeneracy(made: Cp, weight: Tensor) -> Degeneracy:
    """Of the components of a CP of `weight` (C_out, C_in, K_h, K_w)."""
    factors = [made.out, made.in_, made.spatial]
    square = float(weight.double().square().sum())
    norms = _column_squares(factors).prod(dim=0)
    if square == 0 or float(norms.max()) == 0:
        return Degeneracy()
    return Degeneracy(
        log10_norms=math.log10(float(norms.sum()) / square),
        sensitivity=sensitivity(factors) / square,
        largest_component=math.sqrt(float(norms.max()) / square),
        smallest_component=math.sqrt(float(norms.min()) / square),
    )


def sum_of_squared_norms(factors: list[Tensor]) -> float:
    """Sum over the components of |a_r|^2 |b_r|^2 |c_r|^2: large against |W|^2 where components cancel each other."""
    return float(_column_squares(factors).prod(dim=0).sum())


def sensitivity(factors: list[Tensor]) -> float:
    """Expected squared change of the tensor, per unit of variance of noise on every entry of every factor."""
    squares = _column_squares(factors)
    return sum(len(f) * float(squares.prod(dim=0).div(squares[n]).nan_to_num().sum()) for n, f in enumerate(factors))


def weights_of(one: Tensor, two: Tensor, objective: str) -> Tensor:
    a, b = one.square().sum(0), two.square().sum(0)
    tiny = 1e-30 * float((a * b).max().clamp_min(1e-300))
    return (a * b if objective == "norms" else len(one) * b + len(two) * a).clamp_min(tiny)


def spread(factors: list[Tensor]) -> list[Tensor]:
    """The same components, each with the same root mean square per entry in all three factors.

    That split of a component's norm is the one of least sensitivity.
    """
    means = _column_squares(factors) / torch.tensor([len(f) for f in factors], dtype=factors[0].dtype)[:, None]
    target = means.prod(dim=0) ** (1 / 3)
    return [f * (target / m.clamp_min(1e-300)).sqrt() for f, m in zip(factors, means, strict=True)]


def _column_squares(factors: list[Tensor]) -> Tensor:
    """(3, r): squared norms of the columns."""
    return torch.stack([f.square().sum(0) for f in factors])
