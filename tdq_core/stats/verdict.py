"""What an interval lets one say of a bound: shown, consistent with it, or missed. Standard library only."""

import math
from enum import StrEnum

Interval = tuple[float, float, float]
"""(middle, low, high)"""

NO_WAY = 1e-3
"""Of the interval's half width: a million times as many images are no advice."""


class Verdict(StrEnum):
    """Of a quantity that should be at most a limit.

    SHOWN: the interval's upper end is within the limit; with a 95 % interval this is false in 2.5 % of all cases where
    the truth is at the limit, and less often where it is further out. CONSISTENT: only its middle is, so that the truth
    may lie on either side. MISSED: not even that.
    """

    SHOWN = "shown"
    CONSISTENT = "consistent"
    MISSED = "missed"


def verdict(interval: Interval, limit: float) -> Verdict:
    """What `interval` says of being at most `limit`."""
    middle, _, high = interval
    if high <= limit:
        return Verdict.SHOWN
    return Verdict.CONSISTENT if middle <= limit else Verdict.MISSED


def images_to_settle(interval: Interval, limit: float, n: int) -> int | None:
    """About how many images in all would show it, should the middle of `interval`, of n images, stay where it is; None
    where it is as good as at the limit, or beyond, so that no number that anybody has would."""
    middle, _, high = interval
    if high <= limit:
        return n
    if limit - middle <= NO_WAY * (high - middle):
        return None
    return math.ceil(n * ((high - middle) / (limit - middle)) ** 2)
