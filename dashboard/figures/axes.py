"""Axes: where they begin and end, and round values on them."""

import math
from collections.abc import Sequence


def log_range(values: Sequence[float]) -> list[float] | None:
    """From a little before the first point to a little after the last, as log10."""
    if not values:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.04 * (high - low), 0.02)
    return [low - room, high + room]


TICK_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), (1, *(k / 10 for k in range(11, 100))))
"""Of a decade: coarse steps where the axis is long, fine ones where it is short."""
LEAST_TICKS, MOST_TICKS = 3, 9


def log_ticks(values: Sequence[float]) -> list[float]:
    """Round values on the axis of these `values`, by the coarsest steps of which enough lie on it."""
    reach = log_range(values)
    if reach is None:
        return []
    low, high = 10 ** reach[0], 10 ** reach[1]
    powers = range(math.floor(reach[0]), math.ceil(reach[1]) + 1)
    found: list[float] = []
    for steps in TICK_STEPS:
        found = [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) <= high]
        if len(found) >= LEAST_TICKS:
            break
    every = max(1, math.ceil(len(found) / MOST_TICKS))
    return found[::every]
