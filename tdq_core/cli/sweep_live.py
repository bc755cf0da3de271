"""What a sweep shows while it runs: a table that lives on a terminal, a line for each run elsewhere; all on stderr."""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Collection, Iterator
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tdq_core.cli.terminal import percent, shown, tell
from tdq_core.records.record import RunRecord
from tdq_core.records.table import method_text, ranks_text
from tdq_core.specs import RunSpec
from tdq_core.sweeps.planned import looks_like
from tdq_core.sweeps.watch import Watch
from tdq_core.system.progress import Progress, silent

_SHOWN = 8
"""Runs that came last."""
_FORGET_S = 30.0
"""A worker that says nothing for so long is not shown."""


class Screen(NamedTuple):
    """Who shows what a sweep is at."""

    watch: Watch
    on_progress: Progress


@contextlib.contextmanager
def live(done: list[int], asked: Collection[RunSpec]) -> Iterator[Screen]:
    """Watch a sweep.

    Args:
        done: its one number counts the runs of `asked` that are measured and kept.
    """
    board = Board(done, {looks_like(spec) for spec in asked})
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield Screen(Watch(on_start=board.start, on_record=board.line, on_complaint=board.complaint), silent)
        return
    with Live(console=console, transient=True, auto_refresh=False) as screen:

        def on_tick() -> None:
            screen.update(board.drawn(), refresh=True)

        def on_progress(stage: str, done: int, total: int) -> None:
            screen.update(Text(shown(f"{stage} {done}/{total}", sys.stderr)), refresh=True)

        yield Screen(Watch(board.start, board.record, board.complaint, board.step, on_tick), on_progress)


class Board:
    """How a sweep stands."""

    def __init__(self, done: list[int], asked: Collection[RunSpec]) -> None:
        self.done, self.asked = done, asked
        self.total, self.came, self.bad, self.where = 0, 0, 0, ""
        self.begun = time.monotonic()
        self.last: deque[tuple[str, ...]] = deque(maxlen=_SHOWN)
        self.steps: dict[str, tuple[float, str]] = {}

    def start(self, runs: int, tasks: int, where: str) -> None:
        self.total, self.where, self.begun = runs, where, time.monotonic()
        tell(f"{runs} runs in {tasks} tasks; {where}.")

    def record(self, record: RunRecord, seconds: float, not_kept: str) -> None:
        self.came += 1
        kept = record.state != "failed" and not not_kept
        self.done[0] += kept and looks_like(record.spec) in self.asked
        self.bad += record.state != "complete"
        self.last.append((*_named(record.spec), _result(record), f"{seconds:.1f} s"))

    def line(self, record: RunRecord, seconds: float, not_kept: str) -> None:
        self.record(record, seconds, not_kept)
        tell(f"{self.came}/{self.total} {' '.join(self.last[-1])}; {self._left()}")

    def complaint(self, spec: RunSpec, sentence: str) -> None:
        self.came += 1
        self.bad += 1
        self.last.append((*_named(spec), sentence, ""))

    def step(self, worker: str, spec: RunSpec, stage: str, done: int, total: int) -> None:
        counted = f" {done}/{total}" if total else ""
        self.steps[worker] = time.monotonic(), f"{' '.join(_named(spec))}: {stage}{counted}"

    def _left(self) -> str:
        if not self.came or self.came >= self.total:
            return f"{minutes(time.monotonic() - self.begun)} so far"
        rest = (time.monotonic() - self.begun) * (self.total - self.came) / self.came
        return f"about {minutes(rest)} left"

    def drawn(self) -> Group:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for row in self.last:
            table.add_row(*(Text(shown(cell, sys.stderr), no_wrap=True) for cell in row))
        now = time.monotonic()
        at_work = [
            Text(shown(f"  worker {name}: {text}", sys.stderr), no_wrap=True, style="dim")
            for name, (when, text) in sorted(self.steps.items())
            if now - when < _FORGET_S
        ]
        bad = f", {self.bad} not complete" if self.bad else ""
        head = Text(f"{self.came}/{self.total} runs{bad}, {self._left()}")
        return Group(table, *at_work, ProgressBar(total=max(self.total, 1), completed=self.came, width=60), head)


def _named(spec: RunSpec) -> tuple[str, str, str]:
    numbers = spec.precision
    return f"{spec.model.name} {method_text(spec)}", ranks_text(spec), f"{numbers.name} {numbers.backend}"


def _result(record: RunRecord) -> str:
    if record.metrics is None:
        return f"{record.state}: {record.reason}"
    return f"{percent(record.metrics.top1)} ({100 * record.drop()[0]:+.2f})"


def minutes(seconds: float) -> str:
    """'40 s', '12 min', '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
