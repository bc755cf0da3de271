"""Whether a quantity is as good as nothing: within a margin that a person sets, beyond it, or not known yet.

Two one-sided tests (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987) by an interval: within the margin where the whole
interval is, beyond where none of it is. Where several are looked at, each interval is wide enough that all of them hold
their truths at once in 95 % of all cases (Bonferroni). Standard library and numpy only.
"""

import math
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from tdq_core.stats.verdict import NO_WAY, Interval

ERROR = 0.05


class Equivalence(StrEnum):
    """Of a quantity whose size should be at most a margin."""

    WITHIN = "within"
    BEYOND = "beyond"
    UNDECIDED = "undecided"


def z_of(looks: int) -> float:
    """The quantile of the normal distribution by which `looks` intervals hold all of their truths in 95 %."""
    return NormalDist().inv_cdf(1 - ERROR / (2 * max(1, looks)))


def equivalence(interval: Interval, margin: float) -> Equivalence:
    """What `interval` says of being within [-margin, margin]."""
    _, low, high = interval
    if -margin <= low and high <= margin:
        return Equivalence.WITHIN
    return Equivalence.BEYOND if low > margin or high < -margin else Equivalence.UNDECIDED


def images_to_decide(interval: Interval, margin: float, n: int) -> int | None:
    """About how many images in all would decide it, should the middle of `interval`, of n images, stay where it is;
    None where it is as good as at the margin, so that no number that anybody has would."""
    middle, low, high = interval
    if equivalence(interval, margin) is not Equivalence.UNDECIDED:
        return n
    room, half = abs(margin - abs(middle)), max(high - middle, middle - low)
    return None if room <= NO_WAY * half else math.ceil(n * (half / room) ** 2)


def sign_flip_p(differences: np.ndarray) -> float:
    """The exact two-sided p-value of differences, whole numbers, being as likely one way as the other: the share of all
    choices of their signs that give a sum at least as far from 0 (Fisher, "The Design of Experiments", 1935)."""
    sizes = np.abs(np.asarray(differences, dtype=np.int64))
    chances = np.ones(1)  # of the sums -m, -m + 1, ..., m
    for size in range(1, int(sizes.max(initial=0)) + 1):
        chances = np.convolve(chances, _sums(int((sizes == size).sum()), size))
    middle, seen = len(chances) // 2, abs(int(np.sum(differences)))
    return float(min(1.0, chances[np.abs(np.arange(len(chances)) - middle) >= seen].sum()))


def _sums(count: int, size: int) -> np.ndarray:
    """Chances of the sums of `count` numbers that are `size` or -`size`, from the least on."""
    choices = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
    chances = np.zeros(2 * size * count + 1)
    chances[:: 2 * size] = np.exp(np.array(choices) - count * math.log(2))
    return chances


def holm(values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm, Scand. J. Statist. 6, 1979), in their order."""
    order = np.argsort(values)
    factors = len(values) - np.arange(len(values))
    corrected = np.maximum.accumulate(np.minimum(1.0, np.asarray(values)[order] * factors))
    found = np.empty(len(values))
    found[order] = corrected
    return found
