"""Activations on an unsigned grid with a zero point, one a tensor: ranges from calibration images, and rounding."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 2048
"""Of a histogram of activations: half a step of 8 bits spans four of them."""

SHARES = torch.linspace(1.0, 0.2, 100, dtype=torch.float64)
"""Ranges that the search for the least squared error tries, as shares of [smallest, largest]."""

STEPS, MOVES, ROUNDS = (1 / 12, 1 / 60, 1 / 300), 8, 2
"""Of the finer search: its steps, as shares of the range's width; how many to either side; how often each end."""

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class ActivationGrid:
    """The values (integer - zero_point) * scale for integer = 0 ... levels.

    Attributes:
        levels: 2^bits - 1.
    """

    scale: float
    zero_point: int
    levels: int

    @classmethod
    def spanning(cls, low: float, high: float, levels: int) -> "ActivationGrid":
        """The grid from `low` <= 0 to `high` >= 0, moved by up to half a step so that zero lies on it."""
        scale = max((high - low) / levels, TINY)
        return cls(scale, min(max(round(-low / scale), 0), levels), levels)

    def round(self, values: Tensor) -> Tensor:
        """The nearest values on the grid; what lies beyond goes to its end."""
        return torch.fake_quantize_per_tensor_affine(values, self.scale, self.zero_point, 0, self.levels)


class Range:
    """Smallest and largest of the values seen; zero is always within."""

    def __init__(self) -> None:
        self.low = self.high = 0.0

    def add(self, values: Tensor) -> None:
        low, high = values.detach().aminmax()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def grid(self, levels: int) -> ActivationGrid:
        """The grid of the whole range."""
        return ActivationGrid.spanning(self.low, self.high, levels)


class Histogram:
    """Counts of values within a known range, zeros left out: they lie on every grid and have no error."""

    def __init__(self, within: Range) -> None:
        self.within = within
        self.counts = torch.zeros(BINS, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        low, high = self.within.low, self.within.high
        if low < high:
            self.counts += torch.histc(values.detach()[values != 0], BINS, low, high)

    def grid(self, levels: int) -> ActivationGrid:
        """The grid of least squared error among those of SHARES of the range; the widest of equals."""
        low, high = self.within.low, self.within.high
        grids = [ActivationGrid.spanning(low * share, high * share, levels) for share in SHARES.tolist()]
        return min(grids, key=self.squared_error)

    def finest(self, levels: int) -> ActivationGrid:
        """The grid of least squared error whose ends are searched one after the other, coarsely and then finely."""
        ends = self.within.low, self.within.high
        for step, _, top in itertools.product(STEPS, range(ROUNDS), (True, False)):
            moves = [share * step * (self.within.high - self.within.low) for share in range(-MOVES, MOVES + 1)]
            ways = [ends, *[(ends[0], ends[1] + move) if top else (ends[0] + move, ends[1]) for move in moves]]
            inside = [way for way in ways if self.within.low <= way[0] <= 0 <= way[1] <= self.within.high]
            ends = min(inside, key=lambda way: self.squared_error(ActivationGrid.spanning(way[0], way[1], levels)))
        return ActivationGrid.spanning(*ends, levels)

    def squared_error(self, grid: ActivationGrid) -> float:
        """Of the values seen, each taken as the middle of its bin."""
        step = (self.within.high - self.within.low) / BINS
        middles = self.within.low + step * (torch.arange(BINS, dtype=torch.float64) + 0.5)
        return float((self.counts * (grid.round(middles.float()).double() - middles).square()).sum())
