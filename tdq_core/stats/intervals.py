"""Confidence intervals: how much of a measured accuracy is chance. Standard library and numpy only."""

import base64
import functools
import math

import numpy as np

from tdq_core.stats.score import Z90_ABOVE, Z95, score_interval
from tdq_core.stats.scores import score_intervals


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), as (low, high) in 0-1; honest near 0 and 1, unlike p ± 1.96 se."""
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"A proportion needs 0 <= correct <= n and n >= 1. Got {correct} of {n}.")
    p, z2 = correct / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if correct == 0 else centre - half
    return low, 1.0 if correct == n else centre + half


def paired_mean(differences: np.ndarray, *, largest: int = 1, z: float = Z95) -> tuple[float, float, float]:
    """(mean, low, high): per-image differences, paired by image, and the score interval of their mean, 95 % by default.

    The mean is the plain one. See `tdq_core.stats.score` for the interval and `python -m benchmarks.intervals` for what
    it was chosen among: it keeps an honest width where few images differ or none does.

    Args:
        differences: of shape (n,), whole numbers; -1, 0 or 1 where two models are compared.
        largest: the most by which one image can count; 2 where a difference is a sum of two (an interaction).

    Raises:
        ValueError: no image, or a difference that is no whole number in [-largest, largest].
    """
    found = np.asarray(differences, dtype=np.float64)
    if not len(found):
        raise ValueError("A paired interval needs at least one image. Got none.")
    wrong = ~((found == np.round(found)) & (np.abs(found) <= largest))
    if wrong.any():
        raise ValueError(
            f"Differences by image must be whole numbers in [-{largest}, {largest}]. Got {found[wrong][0]:g}."
        )
    return float(np.mean(found)), *_ends(tuple(counted(found, largest).tolist()), largest, z)


@functools.lru_cache(maxsize=1 << 14)
def _ends(counts: tuple[int, ...], largest: int, z: float) -> tuple[float, float]:
    return score_interval(dict(zip(range(-largest, largest + 1), counts, strict=True)), largest, z)


def paired_means(counts: np.ndarray, *, largest: int = 1, z: float = Z95) -> list[tuple[float, float, float]]:
    """What `paired_mean` says of each of many tables of differences, found for all at once.

    Args:
        counts: of shape (k, 2 * largest + 1), see `counted`; each row has at least one image.
    """
    if not len(counts):
        return []
    means = (counts @ np.arange(-largest, largest + 1)) / counts.sum(axis=1)
    lows, highs = score_intervals(counts, largest, z)
    return list(zip(means.tolist(), lows.tolist(), highs.tolist(), strict=True))


def counted(differences: np.ndarray, largest: int) -> np.ndarray:
    """How many of the differences, whole numbers of any shape, are -largest, ..., largest: (2 * largest + 1,)."""
    return np.bincount(np.asarray(differences, dtype=np.int64).ravel() + largest, minlength=2 * largest + 1)


def upper_bounds(lost: np.ndarray, won: np.ndarray, n: np.ndarray, *, z: float = Z90_ABOVE) -> np.ndarray:
    """Upper ends of the score intervals of many drops at once, as `paired_mean(..., z=z)` has them one by one.

    Tango's statistic in closed form (Tango 1998, Statistics in Medicine 17), its root found by halving.

    Args:
        lost, won: images that only the first, or only the second, of two models gets right; n: images. Of one shape.
    """
    lost, won, n = (np.asarray(values, dtype=np.float64) for values in np.broadcast_arrays(lost, won, n))
    mean = (lost - won) / n
    near, far = mean.copy(), np.ones_like(mean)
    for _ in range(60):
        drop = (near + far) / 2
        b, c = (2 * n - lost + won) * drop - lost - won, drop * (1 - drop)
        least = (np.sqrt(np.maximum(b * b + 8 * n * won * c, 0.0)) - b) / (4 * n)
        too_far = n * (drop - mean) ** 2 > z**2 * np.maximum(2 * least + c, 0.0)
        near, far = np.where(too_far, near, drop), np.where(too_far, drop, far)
    return np.where(lost == n, 1.0, near)


def pack_outcomes(correct: np.ndarray) -> str:
    """Per-image right/wrong as base64 text, one bit an image (first image = highest bit of the first byte)."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode()


def unpack_outcomes(text: str, n: int) -> np.ndarray:
    """The inverse of `pack_outcomes`: a bool array of shape (n,)."""
    packed = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    if len(packed) != (n + 7) // 8:
        raise ValueError(f"{n} outcomes take {(n + 7) // 8} bytes. Got {len(packed)}.")
    return np.unpackbits(packed, count=n).astype(bool)
