"""What a weight costs in a layer's outputs: a quadratic form for each group of channels, all groups at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.errors import NotNow, RunFailed
from tdq_core.system.machine import free_memory

RIDGE = 1e-2
"""Share of the mean variance of a patch's entries that is added to each entry's own: where the images say nothing, a
fit keeps to the weights."""
LEAST = 1e-6
"""The same for a group that sees next to nothing, as a share of what an average group sees."""
ROWS = 8192
COPIES = 5
"""Matrices of the size of the Hessian that are alive at a time."""


@dataclass(frozen=True)
class Quadratic:
    """E |y - w x|^2 of each row w of a weight, but for what no weight changes: (w - best) hessian (w - best)^T.

    Attributes:
        hessian: (groups, n, n) float64, positive definite: E x x^T with the ridge.
        best: (groups, rows, n) float64: the rows of least error.
    """

    hessian: Tensor
    best: Tensor

    def errors(self, weight: Tensor) -> Tensor:
        """(groups, rows) of a weight (groups, rows, n)."""
        off = weight - self.best
        return ((off @ self.hessian) * off).sum(-1)


@dataclass(frozen=True)
class Means:
    """Of patches (C_in K,) and wanted outputs (C_out,), taken off before the fit; zero without a bias to take them."""

    patches: Tensor
    wanted: Tensor


def quadratic(
    rows: Tensor, wanted: Tensor, weight: Tensor, groups: int, *, centred: bool, name: str, ridge: float = RIDGE
) -> tuple[Quadratic, Means]:
    """The error of a layer's weight (C_out, n) on patches `rows` (m, groups n) whose outputs should be `wanted`
    (m, C_out).

    Raises:
        NotNow: the form needs more memory than is free.
        RunFailed: what the layer `name` sees or should make is not finite.
    """
    _require_memory(groups, weight.shape[1], name)
    taken = [m.mean(0, dtype=torch.float64) * centred for m in (rows, wanted)]
    own = weight.double().view(groups, -1, weight.shape[1])
    squares = torch.zeros(groups, own.shape[2], own.shape[2], dtype=torch.float64)
    cross = torch.zeros_like(own)
    for x, y in zip(rows.split(ROWS), wanted.split(ROWS), strict=True):
        seen, made = (_by_group(part - mean.float(), groups) for part, mean in zip((x, y), taken, strict=True))
        squares += (seen.mT @ seen).double()
        cross += (made.mT @ seen).double()
    squares, cross = squares / len(rows), cross / len(rows)
    if not bool(squares.isfinite().all() and cross.isfinite().all()):
        raise RunFailed(f"The layer '{name}' sees or makes values that are not finite on the calibration images.")
    extra = _ridges(squares, ridge)
    squares.diagonal(dim1=1, dim2=2).add_(extra)
    lower = torch.linalg.cholesky(squares)
    best = torch.cholesky_solve((cross + extra[:, :, None] * own).mT, lower).mT
    return Quadratic(squares, best), Means(*taken)


def _require_memory(groups: int, columns: int, name: str) -> None:
    needed, free = 8 * COPIES * groups * columns**2, free_memory()
    if needed > free:
        raise NotNow(
            f"Rounding the layer '{name}' in the metric of its outputs needs {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: leave 'quantization_aware' out, or try again when more is free."
        )


def _by_group(values: Tensor, groups: int) -> Tensor:
    """(m, groups n) as (groups, m, n)."""
    return values.view(len(values), groups, -1).transpose(0, 1)


def _ridges(squares: Tensor, ridge: float) -> Tensor:
    """(groups, 1), positive."""
    means = squares.diagonal(dim1=1, dim2=2).mean(1)
    return torch.maximum(ridge * means, LEAST * means.mean()).clamp_min(torch.finfo(torch.float32).tiny)[:, None]
