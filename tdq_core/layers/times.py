"""How long a layer takes in one form, at the ranks that were timed and between them. No torch here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

ROUNDING = 1e-6
"""Of a nanosecond, which interpolation may be off where a time was measured."""


@dataclass(frozen=True)
class FormTime:
    """One form of a layer on one machine.

    Attributes:
        method: of the decomposition; 'none' where the layer stays dense.
        ranks: a row for each rank of the method, ascending, that at which the layer was timed; () of the dense layer.
        ns: nanoseconds at every combination of them, the last rank changing fastest.
    """

    method: str
    ranks: tuple[tuple[int, ...], ...]
    ns: tuple[int, ...]

    def at(self, ranks: Any) -> Any:
        """Nanoseconds at `ranks`, whole numbers or arrays that broadcast: along straight lines between what was timed;
        below the smallest ones as long as there, for a kernel works on so many channels at least."""
        if not self.ranks:
            return self.ns[0]
        grid = np.array(self.ns, dtype=float).reshape([len(row) for row in self.ranks])
        places = [np.interp(np.asarray(rank, dtype=float), row, np.arange(len(row)))
                  for rank, row in zip(ranks, self.ranks, strict=True)]  # fmt: skip
        at = np.array(np.broadcast_arrays(*places))
        found = map_coordinates(grid, at.reshape(len(places), -1), order=1, mode="nearest")
        return np.ceil(found - ROUNDING).astype(np.int64).reshape(at.shape[1:])[()]


def sound(times: FormTime) -> bool:
    """Whether its parts fit each other."""
    combinations = 1
    for row in times.ranks:
        combinations *= len(row)
        if not row or list(row) != sorted(set(row)) or row[0] < 1:
            return False
    return combinations == len(times.ns) and all(ns >= 0 for ns in times.ns)
