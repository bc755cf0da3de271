"""Cores: those that this process may use, and those of them that nobody else is using now."""

import os
import time

import psutil

SAMPLE = 0.1
"""Seconds that the cores are watched."""
FRESH = 2.0
"""Seconds for which an answer holds."""
_last: tuple[float, int] | None = None


def allowed_cores() -> int:
    """Cores that the system gives to this process, and no more than $OMP_NUM_THREADS where somebody has set it."""
    given = len(_mine())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(given, int(asked))) if asked.isdecimal() else given


def free_cores() -> int:
    """Of the allowed cores those that were idle just now, at least one. Ask while this process itself is waiting.

    Work that waits for all its threads at a barrier is slowed down many times by a single one whose core is taken: as
    many threads as cores are free is what a shared machine can bear.
    """
    global _last
    allowed = allowed_cores()
    if allowed == 1:
        return 1
    if _last is None or time.monotonic() - _last[0] > FRESH:
        busy = psutil.cpu_percent(interval=SAMPLE, percpu=True)
        taken = sum(busy[core] for core in _mine() if core < len(busy)) / 100
        _last = (time.monotonic(), round(len(_mine()) - taken))
    return max(1, min(allowed, _last[1]))


def _mine() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
