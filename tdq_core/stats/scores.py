"""Score intervals of many means at once: what `tdq_core.stats.score` says one by one, for tables of thousands."""

import numpy as np

from tdq_core.stats.score import STEPS, Z95


def score_intervals(counts: np.ndarray, largest: int, z: float = Z95) -> tuple[np.ndarray, np.ndarray]:
    """The intervals (low, high) of the means, each of shape (k,), within [-largest, largest].

    Args:
        counts: of shape (k, 2 * largest + 1): how many images have each difference, from -largest on; each row has at
            least one image.
        largest: m, the most by which one image can count.
        z: quantile of the normal distribution.
    """
    seen = np.asarray(counts, dtype=np.float64)
    return -_uppers(seen[:, ::-1], largest, z), _uppers(seen, largest, z)


def _uppers(seen: np.ndarray, largest: int, z: float) -> np.ndarray:
    n, (mean, _) = seen.sum(axis=1), _tilted(seen, largest, np.zeros(len(seen)))

    def too_far(first: np.ndarray, square: np.ndarray) -> np.ndarray:
        return np.asarray(n * (first - mean) ** 2 > z**2 * np.maximum(square - first**2, 0.0))

    nothing_at_most = seen[:, -1] == 0
    edge = _tilted(seen, largest, np.where(nothing_at_most, -1 / largest, 0.0))
    mixes = nothing_at_most & ~too_far(*edge)

    def moments(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tilted = _tilted(seen, largest, np.where(mixes, 0.0, at))
        mixed = ((1 - at) * moment + at * largest**power for power, moment in enumerate(edge, start=1))
        first, square = (np.where(mixes, m, t) for m, t in zip(mixed, tilted, strict=True))
        return first, square

    all_at_most = seen[:, -1] == n  # nothing lies above such a mean
    near, far = np.zeros(len(seen)), np.where(mixes, 1.0, np.where(all_at_most, 0.0, -1 / largest))
    for _ in range(STEPS):
        middle = (near + far) / 2
        beyond = too_far(*moments(middle))
        near, far = np.where(beyond, near, middle), np.where(beyond, middle, far)
    return moments(near)[0]


def _tilted(seen: np.ndarray, largest: int, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of p_k proportional to n_k / (1 + s k), each of shape (k,)."""
    values = np.arange(-largest, largest + 1)
    weights = np.divide(seen, 1 + s[:, None] * values, out=np.zeros_like(seen), where=seen > 0)
    total = weights.sum(axis=1)
    return (weights * values).sum(axis=1) / total, (weights * values**2).sum(axis=1) / total
