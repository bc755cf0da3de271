"""Empirical variational Bayesian matrix factorisation: the rank at which noise begins.

Nakajima, Sugiyama, Babacan, Tomioka: "Global analytic solution of fully-observed variational Bayesian matrix
factorization", JMLR 14 (2013), with the noise variance estimated. No torch here.

The free energy is one function of that variance, smooth only between the variances at which a component turns from
signal into noise, and it has several minima: all of its range is looked at, then the lowest places more closely.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

GRID = 512
"""Variances that are tried first, evenly in their logarithm, beside those on both sides of every turn."""
LOWEST = 16
"""Minima of the grid that are looked at more closely."""
ROUNDS, POINTS = 8, 17
"""Rounds of looking closer, each between the neighbours of the best of so many points."""
_CHUNK = 1 << 20
"""Terms of the energy that are held in memory at once."""


class Energy(NamedTuple):
    """The free energy of a matrix as a function of its noise variance, in units of the mean square of an entry.

    Attributes:
        squares: squared singular values, largest first, (small,).
        large: the longer side; alpha: the shorter side over it.
        edge: a component counts as signal where its square is above large * variance * edge.
        lower: the least variance that can minimise the energy; the largest is 1.
    """

    squares: np.ndarray
    large: int
    alpha: float
    edge: float
    lower: float

    @classmethod
    def of(cls, squares: np.ndarray, large: int) -> "Energy":
        """`squares` sum up to the number of entries."""
        alpha = len(squares) / large
        tau = 2.5129 * math.sqrt(alpha)  # the reference implementation's approximation of the root
        edge = (1 + tau) * (1 + alpha / tau)
        first_noise = min(math.ceil(len(squares) / (1 + alpha)) - 1, len(squares) - 1)
        lower = max(squares[first_noise] / (large * edge), float(np.mean(squares[first_noise:])) / large)
        return cls(squares, large, alpha, edge, min(max(lower, 1e-12), 1.0))

    def at(self, variances: np.ndarray) -> np.ndarray:
        """The energy at each of `variances`, of any shape."""
        flat = variances.reshape(-1)
        parts = np.array_split(flat, max(1, -(-flat.size * len(self.squares) // _CHUNK)))
        return np.concatenate([self._sums(part) for part in parts]).reshape(variances.shape)

    def _sums(self, variances: np.ndarray) -> np.ndarray:
        x = np.maximum(self.squares / (self.large * variances[:, None]), 1e-300)  # (variances, small)
        logs = np.log(x)
        half = np.maximum(x, self.edge) - (1 + self.alpha)
        tau = 0.5 * (half + np.sqrt(half**2 - 4 * self.alpha))
        signal = x - tau + np.log1p(tau) - logs + self.alpha * np.log1p(tau / self.alpha)
        found: np.ndarray = np.where(x > self.edge, signal, x - logs).sum(axis=1)
        return found

    def turns(self) -> np.ndarray:
        """The variances at which a component turns from signal into noise, within the range."""
        found = self.squares / (self.large * self.edge)
        return found[(found > self.lower) & (found < 1)]

    def signals(self, variance: float) -> int:
        """How many components stand out at this variance."""
        return int(np.sum(self.squares > self.large * variance * self.edge))


def evbmf_rank(spectrum: Sequence[float] | np.ndarray, rows: int, columns: int) -> int:
    """Number of components of a `rows` x `columns` matrix that stand out of its noise; 0: none does.

    Args:
        spectrum: all min(rows, columns) squared singular values of the matrix, any order.
    """
    return _rank(tuple(float(s) for s in spectrum), rows, columns)


@functools.lru_cache(maxsize=4096)
def _rank(spectrum: tuple[float, ...], rows: int, columns: int) -> int:
    small, large = min(rows, columns), max(rows, columns)
    squares = np.sort(np.asarray(spectrum))[::-1]
    if len(squares) != small or not np.all(np.isfinite(squares)) or squares[-1] < -1e-9 * max(squares[0], 1e-300):
        raise ValueError(f"A {rows} x {columns} matrix has {small} squared singular values >= 0. Got {len(squares)}.")
    if squares[0] <= 0:
        return 0
    # In units of the mean square of an entry: the answer must not depend on the scale of the weights.
    energy = Energy.of(np.maximum(squares, 0) * (small * large / squares.sum()), large)
    return energy.signals(noise_variance(energy))


def noise_variance(energy: Energy) -> float:
    """The variance that minimises the free energy, between the bounds of the paper; the upper one is 1 here."""
    if energy.lower >= 1.0 - 1e-12:
        return 1.0
    turns = energy.turns()
    grid = np.concatenate([np.geomspace(energy.lower, 1.0, GRID), turns * (1 - 1e-9), turns * (1 + 1e-9)])
    grid = np.unique(np.clip(grid, energy.lower, 1.0))
    values = energy.at(grid)
    walls = np.concatenate([[np.inf], values, [np.inf]])
    lows = np.flatnonzero((values <= walls[:-2]) & (values <= walls[2:]))
    lows = lows[np.argsort(values[lows], kind="stable")[:LOWEST]]
    left, right = grid[np.maximum(lows - 1, 0)], grid[np.minimum(lows + 1, len(grid) - 1)]
    best, least = float(grid[lows[0]]), float(values[lows[0]])
    for _ in range(ROUNDS):
        closer = np.geomspace(left, right, POINTS)  # (points, lows)
        found = energy.at(closer)
        at = np.argmin(found, axis=0)
        every = np.arange(closer.shape[1])
        if float(found.min()) < least:
            least, best = float(found.min()), float(closer.reshape(-1)[np.argmin(found)])
        left, right = closer[np.maximum(at - 1, 0), every], closer[np.minimum(at + 1, POINTS - 1), every]
    return best
