"""CP of small error and small components at once: alternating ridge regressions that keep their momentum.

The sum |T - [[A, B, C]]|^2 + mu sensitivity(A, B, C) is lowered by one factor after another, each a ridge regression;
mu follows the error, so that the sensitivity keeps its weight beside it. Plain least squares crawls where components
cancel, and these cannot grow here; between sweeps all factors go on in the direction they came from (Nesterov, 1983;
Mitchell, Ye, De Sterck, "Nesterov acceleration of alternating least squares for canonical tensor decomposition", 2020),
and stand where that has made the sum larger. Phan, Tichavsky and Cichocki ("Error preserving correction for CPD
and bounded-norm CPD", 2017) let least squares and correction take turns for the same end.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.decompose.als import Fit, Products
from tdq_core.compression.decompose.components import sensitivity, spread, weights_of
from tdq_core.compression.decompose.ridge import regress

SHARE = 0.03
"""What the sensitivity counts: as much as this share of error times norm. So beside a large squared error it counts
little, and beside a small one, where large components are what is left to mend, much."""
MOMENTUM = 0.97
RENEWED = 10
"""Sweeps after which mu follows the error anew."""


def balanced(
    tensor: Tensor, start: list[Tensor], *, lost: float = 0.0, sweeps: int, tol: float, single: bool = False
) -> Fit:
    """Factors from `start`; ends when the sum falls by less than the share `tol` in a sweep. It never rises.

    Args:
        tensor: (I, J, K), float64.
        start: one (size, r) matrix a mode.
        lost: squared error that is there whatever the factors are; it counts in the errors, not in the sum.
        single: multiply with the tensor in float32, twice as fast; all else is float64.
    """
    square = float(torch.linalg.vector_norm(tensor)) ** 2
    if square == 0:
        return Fit([torch.zeros_like(f) for f in start], (0.0,), True)
    turns = _Turns(Products.of(tensor, single=single), square)
    now = before = spread(start)
    missed, steps = turns.missed(now), 0
    errors = [math.sqrt((missed + lost) / (square + lost))]
    for sweep in range(sweeps):
        if sweep % RENEWED == 0:
            mu = SHARE * math.sqrt(missed * square) / max(sensitivity(now), 1e-150)
            least = missed + mu * sensitivity(now)
        pushed = min(steps / (steps + 3), MOMENTUM)
        tried, error = turns.sweep([a + pushed * (a - b) for a, b in zip(now, before, strict=True)], mu)
        fall = least - error - mu * sensitivity(tried)
        if fall < 0 and steps > 0:  # it went too far: once more, from rest
            before, steps = now, 0
            continue
        if fall <= tol * least:
            return Fit(now, tuple(errors), True)
        now, before, missed, least, steps = tried, now, error, least - fall, steps + 1
        errors.append(math.sqrt((missed + lost) / (square + lost)))
    return Fit(now, tuple(errors), False)


@dataclass(frozen=True)
class _Turns:
    """The regressions of one tensor, whose squared norm is `square`."""

    products: Products
    square: float

    def sweep(self, factors: list[Tensor], mu: float) -> tuple[list[Tensor], float]:
        """All three factors anew, evenly spread, and their squared error."""
        grams = [torch.empty(0), *(f.T @ f for f in factors[1:])]
        for mode, product in self.products.sweep(factors):
            one, two = (mode + 1) % 3, (mode + 2) % 3
            gram = grams[one] * grams[two]
            factors[mode] = regress(gram, product, mu * weights_of(factors[one], factors[two], "sensitivity"))
            grams[mode] = factors[mode].T @ factors[mode]
        missed = self.square - 2 * float((factors[2] * product).sum()) + float((gram * grams[2]).sum())
        return spread(factors), max(missed, 0.0)

    def missed(self, factors: list[Tensor]) -> float:
        _, product = next(self.products.sweep(factors))
        one, two, three = (f.T @ f for f in factors)
        return max(self.square - 2 * float((factors[0] * product).sum()) + float((one * two * three).sum()), 0.0)
