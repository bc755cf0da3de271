"""How long a layer takes in one form, at the ranks that were timed and between them. No torch here.

Kernels work on 4, 8 or 16 channels at once and take what is left over one by one: a rank of 17 may take twice as long
as one of 32. So ranks are kept apart by the largest of these numbers that divides them, and only those of one kind are
joined by straight lines.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

STEPS = (16, 8, 4, 1)
MIDDLE = 6
"""Of ranks of no kind, those that leave over so many of 16 stand for all: as many take longer as take less."""
ROUNDING = 1e-6
"""Of a nanosecond, which interpolation may be off where a time was measured."""


@dataclass(frozen=True)
class Grid:
    """Times at ranks of one kind.

    Attributes:
        step: one of `STEPS`: the largest that divides all ranks of a combination.
        ranks: a row for each rank of the method, ascending.
        ns: nanoseconds at every combination of them, the last rank changing fastest.
    """

    step: int
    ranks: tuple[tuple[int, ...], ...]
    ns: tuple[int, ...]

    def at(self, ranks: Any) -> Any:
        """Nanoseconds along straight lines between what was timed; below the smallest ranks as long as there."""
        grid = np.array(self.ns, dtype=float).reshape([len(row) for row in self.ranks])
        at = [np.interp(np.asarray(rank, dtype=float), row, np.arange(len(row)))
              for rank, row in zip(ranks, self.ranks, strict=True)]  # fmt: skip
        below = [place.astype(int) for place in at]
        found: Any = 0.0
        for corner in itertools.product((0, 1), repeat=len(at)):
            axes = list(zip(at, below, corner, grid.shape, strict=True))
            share = math.prod(place - low if up else 1 - (place - low) for place, low, up, _ in axes)
            found = found + share * grid[tuple(np.minimum(low + up, size - 1) for _, low, up, size in axes)]
        return np.ceil(found - ROUNDING).astype(np.int64)


@dataclass(frozen=True)
class FormTime:
    """One form of a layer on one machine.

    Attributes:
        method: of the decomposition; 'none' where the layer stays dense.
        dense: nanoseconds of the dense layer; 0 of the others.
        grids: by falling step; () of the dense layer.
    """

    method: str
    dense: int = 0
    grids: tuple[Grid, ...] = ()

    def at(self, ranks: Any) -> Any:
        """Nanoseconds at `ranks`, whole numbers or arrays that broadcast."""
        if not self.grids:
            return self.dense
        whole = np.broadcast_arrays(*(np.asarray(rank) for rank in ranks))
        found = self.grids[-1].at(whole)
        for grid in reversed(self.grids[:-1]):
            fits = np.all([rank % grid.step == 0 for rank in whole], axis=0)
            found = np.where(fits, grid.at(whole), found)
        return found[()]

    @property
    def least(self) -> int:
        """At the ranks that take least."""
        return min((min(grid.ns) for grid in self.grids), default=self.dense)


def of_plan(dense_ns: int, parts: Iterable[tuple[Iterable[FormTime], str, Any]]) -> int | None:
    """Nanoseconds of a network that takes `dense_ns` dense, from `parts`: of each layer the forms that were timed,
    the method that it takes ('none': dense), and the ranks. None where it was not timed in that form."""
    whole = dense_ns
    for forms, method, ranks in parts:
        if method == "none":
            continue
        known = {form.method: form for form in forms}
        if method not in known or "none" not in known:
            return None
        whole += int(known[method].at(ranks)) - known["none"].dense
    return max(whole, 0)


def rows(top: int, step: int) -> tuple[int, ...]:
    """The ranks up to `top` of one kind at which a layer is timed, at growing distances, the largest one among them."""
    own = [rank for rank in range(step, top + 1, step) if not any(rank % more == 0 for more in STEPS if more > step)]
    found: list[int] = []
    for rank in own:
        far = not found or rank >= found[-1] + max(STEPS[0], found[-1] // 2)
        if rank in (own[0], own[-1]) or (far and (step > 1 or rank % STEPS[0] == MIDDLE)):
            found.append(rank)
    return tuple(found)


def kinds(tops: tuple[int, ...]) -> Iterator[tuple[int, tuple[tuple[int, ...], ...]]]:
    """(step, rows) of the grids for ranks up to `tops`; kinds that have no ranks there are left out."""
    for step in STEPS:
        found = tuple(rows(top, step) for top in tops)
        if all(found):
            yield step, found


def sound(times: FormTime) -> bool:
    """Whether its parts fit each other."""
    steps = [grid.step for grid in times.grids]
    if times.dense < 0 or steps != sorted(set(steps) & set(STEPS), reverse=True):
        return False
    return bool(steps) != (times.method == "none") and all(map(_sound, times.grids))


def _sound(grid: Grid) -> bool:
    combinations = 1
    for row in grid.ranks:
        combinations *= len(row)
        if not row or list(row) != sorted(set(row)) or row[0] < 1:
            return False
    return bool(grid.ranks) and combinations == len(grid.ns) and all(ns >= 0 for ns in grid.ns)
