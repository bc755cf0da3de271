"""Rounding a weight in the metric of the outputs: error feedback, then one integer after another, then the scales.

Error feedback: columns are rounded one after another, and what each loses is made good by those that are still to come
(Hassibi, Stork: "Optimal brain surgeon", NeurIPS 1993; Frantar et al.: "GPTQ", ICLR 2023). Descent: every integer
becomes the best one while the others stay, and the scale the best one of the integers; neither ever raises the error.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tdq_core.compression.quantize.aware.quadratic import Quadratic
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import TINY

SHARES = (1.0, 0.88, 0.76, 0.64, 0.52)
"""Ranges that are tried, as shares of the largest absolute weight."""
SWEEPS = 3
VALUES = 1 << 23
"""Weights that are tried at a time, all ways counted: 64 MiB in float64, of which there are a few."""
BLOCK = 64
"""Columns whose effect on those after them is put together."""


@dataclass(frozen=True)
class OnGrid:
    """Integers (groups, rows, n) and scales (groups, rows), float64; a single scale is the same everywhere."""

    integers: Tensor
    scale: Tensor

    def to_weight(self) -> Tensor:
        return self.integers * self.scale[:, :, None]


def round_with_feedback(error: Quadratic, scheme: Scheme, *, start: OnGrid | None = None) -> OnGrid:
    """The weight of least error on the grid of `scheme`, as far as feedback and descent find it.

    Never worse than rounding `error.best` to the nearest point of its min-max grid, nor than `start`.
    """
    elimination = _elimination(error.hessian)
    if scheme.granularity == "tensor":
        return _rounded(error, scheme, start, elimination)
    groups, rows, columns = error.best.shape
    step = max(1, VALUES // (groups * columns * (1 + len(SHARES))))
    parts = []
    for at in range(0, rows, step):
        own = slice(at, at + step)
        begun = OnGrid(start.integers[:, own], start.scale[:, own]) if start else None
        parts.append(_rounded(Quadratic(error.hessian, error.best[:, own]), scheme, begun, elimination))
    return OnGrid(torch.cat([p.integers for p in parts], 1), torch.cat([p.scale for p in parts], 1))


def _rounded(error: Quadratic, scheme: Scheme, start: OnGrid | None, elimination: tuple[Tensor, Tensor]) -> OnGrid:
    """All ways to scale the rows at a time, and of each row the best one."""
    together, limit, best = scheme.granularity == "tensor", scheme.weight_limit, error.best
    largest = best.abs().amax(2) / limit
    widest = (largest.max().expand_as(largest) if together else largest).clamp_min(TINY)
    scales = torch.stack([(widest * share).float().double().clamp_min(TINY) for share in (1.0, *SHARES)], 1)
    tried = scales.flatten(1)  # (groups, ways x rows): the first way is the nearest point, the others feed back
    rows = best.shape[1]
    fed = feed_back(best.repeat(1, len(SHARES), 1), tried[:, rows:], limit, *elimination)
    ways = OnGrid(torch.cat([_nearest(best, tried[:, :rows], limit), fed], 1), tried)
    errors = Quadratic(error.hessian, best.repeat(1, 1 + len(SHARES), 1)).errors(ways.to_weight()).view_as(scales)
    errors = errors.sum((0, 2), keepdim=True).expand_as(errors) if together else errors
    chosen = errors.argmin(1, keepdim=True)
    integers = ways.integers.view(*scales.shape, -1)
    integers = integers.gather(1, chosen[:, :, :, None].expand(-1, -1, -1, integers.shape[3]))[:, 0]
    found = descend(error, OnGrid(integers, scales.gather(1, chosen)[:, 0]), limit, together=together)
    return found if start is None else _better(error, descend(error, start, limit, together=together), found, together)


def _better(error: Quadratic, one: OnGrid, other: OnGrid, together: bool) -> OnGrid:
    """Row by row the one of less error; of all rows the same where they have one scale `together`."""
    gain = error.errors(one.to_weight()) - error.errors(other.to_weight())
    other_wins = (gain.sum().expand_as(gain) if together else gain) > 0
    return OnGrid(torch.where(other_wins[:, :, None], other.integers, one.integers),
                  torch.where(other_wins, other.scale, one.scale))  # fmt: skip


def _elimination(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Columns by falling energy (groups, n), and the upper Cholesky factor of the inverse Hessian in that order."""
    order = hessian.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    n = hessian.shape[1]
    turned = hessian.gather(1, order[:, :, None].expand(-1, -1, n)).gather(2, order[:, None].expand(-1, n, -1))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(turned))
    return order, torch.linalg.cholesky(inverse, upper=True)


def feed_back(weight: Tensor, scale: Tensor, limit: int, order: Tensor, factor: Tensor) -> Tensor:
    """Integers (groups, rows, n) of a weight, its columns rounded in their `order`, the others making errors good."""
    columns = order[:, None].expand_as(weight)
    left, steps, upper = weight.gather(2, columns).numpy(), scale.numpy(), factor.numpy()
    integers, pivots = np.empty_like(left), factor.diagonal(dim1=1, dim2=2).numpy()
    for start in range(0, left.shape[2], BLOCK):
        stop = min(start + BLOCK, left.shape[2])
        lost = np.empty_like(left[:, :, start:stop])
        for j in range(start, stop):
            column = left[:, :, j]
            integers[:, :, j] = nearest = np.rint(column / steps).clip(-limit, limit)
            lost[:, :, j - start] = off = (column - nearest * steps) / pivots[:, j, None]
            left[:, :, j + 1 : stop] -= off[:, :, None] * upper[:, None, j, j + 1 : stop]
        left[:, :, stop:] -= lost @ upper[:, start:stop, stop:]
    made = torch.from_numpy(integers)
    return torch.empty_like(made).scatter_(2, columns, made)


def descend(error: Quadratic, start: OnGrid, limit: int, *, together: bool = False, sweeps: int = SWEEPS) -> OnGrid:
    """From `start`, integers and scales of no greater error.

    Args:
        together: there is one scale for all rows.
    """
    hessian, found = error.hessian, start
    wanted = error.best @ hessian
    for _ in range(sweeps):
        integers = _best_integers(error, found, limit)
        product = integers @ hessian
        along, square = (integers * wanted).sum(2), (integers * product).sum(2)
        if together:
            along, square = along.sum().expand_as(along), square.sum().expand_as(square)
        scale = (along / square).float().double()
        moved = OnGrid(integers, torch.where((square > 0) & (scale > TINY), scale, found.scale))
        if torch.equal(moved.integers, found.integers) and torch.equal(moved.scale, found.scale):
            break
        found = moved
    return found


def _best_integers(error: Quadratic, found: OnGrid, limit: int) -> Tensor:
    """Each column's integers the best ones, given those of all others; one sweep."""
    hessian, integers, scale = error.hessian.numpy(), found.integers.clone().numpy(), found.scale.numpy()
    slope = ((found.to_weight() - error.best) @ error.hessian).numpy()
    curvature = error.hessian.diagonal(dim1=1, dim2=2).numpy()
    for start in range(0, integers.shape[2], BLOCK):
        stop = min(start + BLOCK, integers.shape[2])
        before = integers[:, :, start:stop].copy()
        for j in range(start, stop):
            old = integers[:, :, j]
            new = np.rint(old - slope[:, :, j] / (curvature[:, j, None] * scale)).clip(-limit, limit)
            if (moved := new - old).any():
                slope[:, :, start:stop] += (moved * scale)[:, :, None] * hessian[:, None, j, start:stop]
                integers[:, :, j] = new
        moved = (integers[:, :, start:stop] - before) * scale[:, :, None]
        slope[:, :, stop:] += moved @ hessian[:, start:stop, stop:]
        slope[:, :, :start] += moved @ hessian[:, start:stop, :start]
    return torch.from_numpy(integers)


def _nearest(weight: Tensor, scale: Tensor, limit: int) -> Tensor:
    return (weight / scale[:, :, None]).round().clamp(-limit, limit)
