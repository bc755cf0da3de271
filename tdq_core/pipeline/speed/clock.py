"""Calls in turn on one clock: what disturbs the machine disturbs all alike.

Each turn is a row of calls, of which the last is timed: the caches then hold what the call itself left there, as in a
program that goes on calling one network, and how fast it is does not hang on what it is compared with.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tdq_core.pipeline.speed.record import Ratio, Timing
from tdq_core.stats.score import Z95

Call = Callable[[], object]
RESOLUTION_MS = 1e-6
WARM_UP, LEAST_ROUNDS, MOST_ROUNDS = 5, 15, 100
BEFORE, BEFORE_S = 4, 0.02
"""Calls before the one that is timed: so many, or as many as begin within this time; one at least."""


def settled(call: Call, clock: Callable[[], float] = time.perf_counter) -> tuple[float, int]:
    """Milliseconds of the last of a row of calls, and how many the row has."""
    begun, row = clock(), 1
    call()
    while row < BEFORE and clock() - begun < BEFORE_S:
        call()
        row += 1
    start = clock()
    call()
    return 1e3 * (clock() - start), row + 1


def in_turn(calls: Sequence[Call], *, seconds: float, clock: Callable[[], float] = time.perf_counter) -> np.ndarray:
    """Milliseconds (rounds, calls): every round times each once, beginning one further than the round before.

    Args:
        seconds: rounds go on for about so long, within [LEAST_ROUNDS, MOST_ROUNDS].
    """
    for _ in range(WARM_UP):
        for call in calls:
            call()
    taken: list[list[float]] = []
    begun = clock()
    while len(taken) < LEAST_ROUNDS or (len(taken) < MOST_ROUNDS and clock() - begun < seconds):
        row = [0.0] * len(calls)
        for turn in range(len(calls)):
            which = (turn + len(taken)) % len(calls)
            row[which], _ = settled(calls[which], clock)
        taken.append(row)
    return np.array(taken)


def timing(ms: np.ndarray) -> Timing:
    """Median and quartiles of times (rounds,)."""
    q1, median, q3 = (float(q) for q in np.quantile(ms, [0.25, 0.5, 0.75]))
    return Timing(median_ms=median, q1_ms=q1, q3_ms=q3)


def ratio(run: np.ndarray, rival: np.ndarray) -> Ratio:
    """How many times as fast as `rival` the run is, from times (rounds,) of the same rounds.

    The interval of the median is that of the order statistics (sign test): no shape of the spread is assumed.
    """
    each = np.sort(rival / np.maximum(run, RESOLUTION_MS))
    n = len(each)
    reach = Z95 * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach) - 1)
    q1, median, q3 = (float(q) for q in np.quantile(each, [0.25, 0.5, 0.75]))
    return Ratio(median=median, low=float(each[low]), high=float(each[high]), q1=q1, q3=q3)


def race(calls: Mapping[str, Call], *, seconds: float) -> tuple[int, dict[str, np.ndarray]]:
    """How many rounds there were, and the times of each call by its name."""
    ms = in_turn(list(calls.values()), seconds=seconds)
    return len(ms), {name: ms[:, at] for at, name in enumerate(calls)}
