"""Confidence intervals: how much of a measured accuracy is chance. Standard library and numpy only."""

import base64
import math

import numpy as np

Z95 = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), as (low, high) in 0-1; honest near 0 and 1, unlike p ± 1.96 se."""
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"A proportion needs 0 <= correct <= n and n >= 1. Got {correct} of {n}.")
    p, z2 = correct / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if correct == 0 else centre - half
    return low, 1.0 if correct == n else centre + half


def paired_mean(differences: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high): per-image differences, paired by image, and the 95 % interval of their mean.

    The interval is Agresti and Min's (2005) for matched proportions: half an image is added to each of the four cells
    (right/wrong before x after), that is, one image with difference +1 or -1 and one with 0. So it keeps an honest
    width where no image differs at all, which a plain normal interval would report as certainty. The mean is the
    plain one.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"A paired interval needs at least 2 images. Got {n}.")
    centre = float(np.sum(differences)) / (n + 2)
    square = (float(np.sum(np.square(differences))) + 1) / (n + 2)
    half = Z95 * math.sqrt((square - centre**2) / (n + 2))
    return float(np.mean(differences)), centre - half, centre + half


def pack_outcomes(correct: np.ndarray) -> str:
    """Per-image right/wrong as base64 text, one bit an image (first image = highest bit of the first byte)."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode()


def unpack_outcomes(text: str, n: int) -> np.ndarray:
    """The inverse of `pack_outcomes`: a bool array of shape (n,)."""
    packed = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    if len(packed) != (n + 7) // 8:
        raise ValueError(f"{n} outcomes take {(n + 7) // 8} bytes. Got {len(packed)}.")
    return np.unpackbits(packed, count=n).astype(bool)
