"""The smallest factor that keeps an error bound: ridge regression, its ridge found by a few Cholesky factorizations.

Of all U with |T|^2 - 2 <U, P> + <U G, U> <= bound^2 (P the unfolded tensor times the other factors' Khatri-Rao product,
G that product's Gram matrix) the smallest is U = P (G + ridge I)^-1 with the ridge at which the bound is met. The error
rises monotonically in the ridge: Newton's method on the ridge's logarithm, kept in a bracket, takes two or three
factorizations when it starts at the ridge of the sweep before.
"""

import math

import torch
from torch import Tensor

LEAST = 1e-10
"""Ridge of a least-squares step, as a share of the mean diagonal of its Gram matrix."""
SOLVES = 40
CLOSE = 2e-3
"""The bound counts as met from this share of its square below it, never from above; what is left over is not lost, the
next update uses it. Newton aims at the middle and then needs two factorizations where it starts well."""


def least_squares(gram: Tensor, product: Tensor) -> Tensor:
    """`product` @ inverse of `gram`, with a ridge raised until the Cholesky factor exists; 0 where `gram` is 0."""
    scale, share = float(gram.diagonal().mean()), LEAST
    if scale == 0:
        return torch.zeros_like(product)
    while (solved := _solve(gram, product, share * scale)) is None:
        share *= 100
    return solved[0]


def regress(gram: Tensor, product: Tensor, ridges: Tensor) -> Tensor:
    """`product` (size, r) @ inverse of (`gram` + diag(`ridges`)), the ridges (r,) raised until the factor exists."""
    return least_squares(gram + ridges.diag(), product)


def smallest_within(
    gram: Tensor, product: Tensor, square: float, bound: float, start: float = 0.0
) -> tuple[Tensor, float] | None:
    """The smallest factor (size, r) within the bound, and its ridge; None where the bound leaves no room.

    Args:
        gram: (r, r); product: (size, r); float64.
        square: |T|^2.
        start: the ridge to try first; 0: one from the size of `gram`.
    """
    if bound**2 >= square:
        return torch.zeros_like(product), math.inf
    least = LEAST * float(gram.diagonal().mean())
    low, high, found = least, math.inf, None
    trial = max(start, 1e-3 * float(gram.diagonal().mean()) if start == 0 else least)
    for _ in range(SOLVES):
        solved = _solve(gram, product, trial)
        if solved is None:
            if trial >= high:
                break
            low = trial = min(100 * trial, high)
            continue
        factor, lower = solved
        excess = square - float((factor * product).sum()) - trial * float(factor.square().sum()) - bound**2
        if excess <= 0:
            low, found = trial, (factor, trial)
            if excess >= -CLOSE * bound**2:
                break
        elif trial <= least:
            break
        else:
            high = trial
        aim = excess + CLOSE / 2 * bound**2
        trial = _next(trial, aim, _slope(factor, lower, trial), low, high)
    return found


def _next(trial: float, excess: float, slope: float, low: float, high: float) -> float:
    """Newton's step in the logarithm of the ridge, or the bracket's middle where that leaves the bracket.

    `slope` is d excess / d log ridge.
    """
    newton = trial * math.exp(max(-4.0, min(4.0, -excess / slope))) if slope > 0 else math.inf
    if low < newton < high:
        return newton
    return trial * 50 if high == math.inf else math.sqrt(low * high) if high / low > 1.0001 else low


def _slope(factor: Tensor, lower: Tensor, ridge: float) -> float:
    again = torch.linalg.solve_triangular(lower, factor.T, upper=False)
    return 2 * ridge**2 * float(again.square().sum())


def _solve(gram: Tensor, product: Tensor, ridge: float) -> tuple[Tensor, Tensor] | None:
    """`product` (gram + ridge I)^-1 and the Cholesky factor; None where there is none."""
    damped = gram.clone()
    damped.diagonal().add_(ridge)
    lower, failed = torch.linalg.cholesky_ex(damped)
    return None if failed else (torch.cholesky_solve(product.T, lower).T.contiguous(), lower)
