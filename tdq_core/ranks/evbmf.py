"""Empirical variational Bayesian matrix factorisation: the rank at which noise begins.

Nakajima, Sugiyama, Babacan, Tomioka: "Global analytic solution of fully-observed variational Bayesian matrix
factorization", JMLR 14 (2013), with the noise variance estimated. No torch here.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar


def evbmf_rank(spectrum: Sequence[float], rows: int, columns: int) -> int:
    """Number of components of a `rows` x `columns` matrix that stand out of its noise; 0: none does.

    Args:
        spectrum: all min(rows, columns) squared singular values of the matrix, any order.
    """
    small, large = min(rows, columns), max(rows, columns)
    squares = np.sort(np.asarray(spectrum, dtype=np.float64))[::-1]
    if len(squares) != small or not np.all(np.isfinite(squares)) or squares[-1] < -1e-9 * max(squares[0], 1e-300):
        raise ValueError(f"A {rows} x {columns} matrix has {small} squared singular values >= 0. Got {len(squares)}.")
    if squares[0] <= 0:
        return 0
    # In units of the mean square of an entry: the answer must not depend on the scale of the weights.
    squares = np.maximum(squares, 0) * (small * large / squares.sum())
    alpha = small / large
    tau = 2.5129 * math.sqrt(alpha)  # the reference implementation's approximation of the root
    edge = (1 + tau) * (1 + alpha / tau)
    variance = _noise_variance(squares, large, alpha, edge)
    return int(np.sum(squares > large * variance * edge))


def _noise_variance(squares: np.ndarray, large: int, alpha: float, edge: float) -> float:
    """The variance that minimises the free energy, between the bounds of the paper; the upper one is 1 here."""
    small = len(squares)
    first_noise = min(math.ceil(small / (1 + alpha)) - 1, small - 1)
    lower = max(squares[first_noise] / (large * edge), float(np.mean(squares[first_noise:])) / large)
    lower = min(max(lower, 1e-12), 1.0)
    if lower >= 1.0 - 1e-12:
        return 1.0
    found = minimize_scalar(
        _free_energy, args=(squares, large, alpha, edge), bounds=(lower, 1.0), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    return float(found.x)


def _free_energy(variance: float, squares: np.ndarray, large: int, alpha: float, edge: float) -> float:
    x = np.maximum(squares / (large * variance), 1e-300)
    noise, signal = x[x <= edge], x[x > edge]
    half = signal - (1 + alpha)
    tau = 0.5 * (half + np.sqrt(np.maximum(half**2 - 4 * alpha, 0)))
    kept = signal - tau + np.log((tau + 1) / signal) + alpha * np.log(tau / alpha + 1)
    return float(np.sum(noise - np.log(noise)) + np.sum(kept))
