"""Independent pieces of work side by side, in as many processes as cores are free; the results do not depend on it."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from loky import get_reusable_executor
from loky.process_executor import BrokenProcessPool

from tdq_core.system.cores import free_cores
from tdq_core.system.machine import free_memory
from tdq_core.system.threads import one_thread

PATIENCE = 1.0
"""Seconds of work here before other processes are started, which takes them two."""
IDLE = 60
"""Seconds after which a process that has nothing to do ends."""
LOOK = 0.5
"""Seconds between looks at how far the others are."""
MEMORY = 1 << 30
"""Bytes that must be free for each process that helps, where nothing else is said."""
Job = TypeVar("Job")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    costs: Sequence[float],
    on_done: Callable[[int], None] = lambda done: None,
    on_result: Callable[[int, Result], None] = lambda which, result: None,
    memory: int = MEMORY,
) -> list[Result]:
    """`work` of each job, in the order of `jobs`, each on one thread.

    This process begins with the cheapest; if that has taken `PATIENCE` and more is left, others help from the dearest
    on. A process that is lost costs its piece only, which is done here.

    Args:
        work: a function of a module; jobs and results can be pickled.
        costs: of the jobs, in any unit.
        on_done: told how many are done.
        on_result: given each result as it comes, one at a time: what is kept then outlives whatever ends the rest.
        memory: bytes that must be free for each process that helps.
    """
    waiting = deque(sorted(range(len(jobs)), key=costs.__getitem__))
    pieces = _Pieces(work, jobs, waiting, on_done, on_result)
    pieces.here(until=time.monotonic() + PATIENCE)
    if helpers := _helpers(len(pieces.waiting), memory):
        pieces.with_help(helpers)
    pieces.here()
    return [pieces.done[which] for which in range(len(jobs))]


def alone(work: Callable[[Job], Result], job: Job) -> Result:
    """`work` of one job on one thread."""
    with one_thread():
        return work(job)


def _helpers(left: int, memory: int) -> int:
    return min(free_cores() - 1, left - 1, free_memory() // memory) if left > 1 else 0


class _Pieces(Generic[Job, Result]):
    """What is still `waiting`, the cheapest first, and what is `done`."""

    def __init__(
        self, work: Callable[[Job], Result], jobs: Sequence[Job], waiting: deque[int], on_done: Callable[[int], None],
        on_result: Callable[[int, Result], None],
    ) -> None:  # fmt: skip
        self.work, self.jobs, self.waiting, self.on_done, self.on_result = work, jobs, waiting, on_done, on_result
        self.done: dict[int, Result] = {}
        self._one_at_a_time = threading.Lock()

    def here(self, until: float = math.inf) -> None:
        """From the cheap end, in this process."""
        while time.monotonic() < until and (which := _taken(self.waiting.popleft)) is not None:
            self._have(which, alone(self.work, self.jobs[which]))
            self.on_done(len(self.done))

    def with_help(self, helpers: int) -> None:
        """All of them: here, and in so many other processes, each from the dear end."""
        pool = get_reusable_executor(max_workers=helpers, timeout=IDLE, env={"OMP_NUM_THREADS": "1"})
        with ThreadPoolExecutor(helpers) as drivers:
            try:
                driving = [drivers.submit(self._elsewhere, pool) for _ in range(helpers)]
                self.here()
                while wait(driving, timeout=LOOK).not_done:
                    self.on_done(len(self.done))
                for each in driving:
                    each.result()
            finally:
                self.waiting.clear()
        self.on_done(len(self.done))

    def _elsewhere(self, pool: Executor) -> None:
        while (which := _taken(self.waiting.pop)) is not None:
            try:
                made = pool.submit(alone, self.work, self.jobs[which]).result()
            except BrokenProcessPool:
                made = alone(self.work, self.jobs[which])
            self._have(which, made)

    def _have(self, which: int, made: Result) -> None:
        with self._one_at_a_time:
            self.on_result(which, made)
            self.done[which] = made


def _taken(take: Callable[[], int]) -> int | None:
    """The next piece; None where others have taken the last one."""
    try:
        return take()
    except IndexError:
        return None
