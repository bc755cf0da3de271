"""The score interval of a mean of small whole numbers, one an image. Standard library only.

A mean d0 lies in the interval where (d - d0)^2 <= z^2 Var(d0) / n, d being the mean that was seen and Var(d0) the
variance of the likeliest distribution on [-m, m] whose mean is d0. For m = 1 (a drop: lost, kept or won) this is
Tango's interval for matched proportions (Tango 1998, Statistics in Medicine 17); the same definition serves for m = 2.

That distribution is p_k proportional to n_k / (1 + s k): s = 0 is what was seen, and s towards -1/m moves mass to the
values above the mean (empirical likelihood, Owen 1988). At s = -1/m mass also goes to the value m itself, seen or not:
so the interval keeps a width where no image differs (0 of 700: 0.546 points to each side; an exact one has 0.526).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

Z90 = 1.6448536269514722
Z95 = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""
Z90_ABOVE = 1.2815515655446004
"""The one-sided 90 % quantile: a bound that the truth exceeds in one case of ten."""
STEPS = 60
"""Halvings of a range in which a root lies: down to the last bit of a double."""


class _Moments(NamedTuple):
    mean: float
    square: float

    @property
    def variance(self) -> float:
        return max(self.square - self.mean**2, 0.0)


def score_interval(counts: Mapping[int, int], largest: int, z: float = Z95) -> tuple[float, float]:
    """The interval (low, high) of the mean, within [-largest, largest].

    Args:
        counts: how many images have each difference, whole numbers in [-largest, largest]; at least one image.
        largest: m, the most by which one image can count.
        z: quantile of the normal distribution; 95 % of the intervals hold the mean by default.
    """
    low = -_upper({-value: n for value, n in counts.items()}, largest, z)
    return low, _upper(counts, largest, z)


def _upper(counts: Mapping[int, int], largest: int, z: float) -> float:
    seen = {value: n for value, n in counts.items() if n}
    n, mean = sum(seen.values()), _tilted(seen, 0.0).mean
    if seen.keys() == {largest}:
        return mean

    def too_far(at: _Moments) -> bool:
        return n * (at.mean - mean) ** 2 > z**2 * at.variance

    end = -1 / largest
    if largest not in seen and not too_far(edge := _tilted(seen, end)):
        return _bisected(lambda w: _mixed(edge, largest, w), too_far, 1.0)
    return _bisected(lambda s: _tilted(seen, s), too_far, end)


def _tilted(seen: Mapping[int, int], s: float) -> _Moments:
    """Mean and mean square of p_k proportional to n_k / (1 + s k)."""
    weights = {value: n / (1 + s * value) for value, n in seen.items()}
    total = sum(weights.values())
    return _Moments(*(sum(w * v**power for v, w in weights.items()) / total for power in (1, 2)))


def _mixed(edge: _Moments, largest: int, share: float) -> _Moments:
    """The same with `share` of the mass moved to `largest`."""
    return _Moments(*((1 - share) * at + share * largest**power for power, at in enumerate(edge, start=1)))


def _bisected(path: Callable[[float], _Moments], too_far: Callable[[_Moments], bool], end: float) -> float:
    """The mean where `path` becomes too far on its way from 0 to `end`."""
    near, far = 0.0, end
    for _ in range(STEPS):
        middle = (near + far) / 2
        near, far = (near, middle) if too_far(path(middle)) else (middle, far)
    return path(near).mean
