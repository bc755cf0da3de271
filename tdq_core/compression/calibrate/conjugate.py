"""Conjugate gradients for the least-squares steps whose normal matrix is too large to write down."""

from collections.abc import Callable

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]


def descend(
    apply: Apply, wanted: Tensor, start: Tensor, precondition: Apply, *, steps: int, tol: float = 1e-6
) -> Tensor:
    """`steps` of preconditioned conjugate gradients on apply(x) = wanted from `start`.

    `apply` is symmetric and positive semidefinite: the squared error <x, apply(x)> / 2 - <x, wanted> falls at every
    step, so that the result is never worse than `start`. Ends early when the residual is `tol` of `wanted`.
    """
    x, residual = start, wanted - apply(start)
    direction = prepared = precondition(residual)
    fit = float((residual * prepared).sum())
    least = tol * float(torch.linalg.vector_norm(wanted))
    for _ in range(steps):
        if fit <= 0 or float(torch.linalg.vector_norm(residual)) <= least:
            break
        applied = apply(direction)
        curvature = float((direction * applied).sum())
        if curvature <= 0:
            break
        x = x + fit / curvature * direction
        residual = residual - fit / curvature * applied
        prepared = precondition(residual)
        fit, last = float((residual * prepared).sum()), fit
        direction = prepared + fit / last * direction
    return x


def by_both_sides(left: Tensor, right: Tensor) -> Apply:
    """The preconditioner x -> left^-1 x right^-1 of symmetric positive `left` and `right`, a little regularised."""
    factors = [_cholesky(m) for m in (left, right)]
    return lambda x: torch.cholesky_solve(torch.cholesky_solve(x, factors[0]).T, factors[1]).T


def _cholesky(matrix: Tensor) -> Tensor:
    share = 1e-6
    while True:
        damped = matrix.clone()
        damped.diagonal().add_(share * float(matrix.diagonal().mean().clamp_min(1e-30)))
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return lower
        share *= 100
