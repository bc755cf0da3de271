"""How the command line talks: results on stdout, progress and complaints on stderr."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from tdq_core.stats.sizes import both_ways as both_ways
from tdq_core.system.progress import Progress

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar a stage, on stderr, gone when the work is done; nothing where stderr is not a terminal."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield on_progress


def print_json(value: Any) -> None:
    """Plain JSON on stdout, and nothing else."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A table on stdout; the columns named in `right` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", no_wrap=header != "note")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(highlight=False, width=max(out.width, 100) if out.is_terminal else 200).print(table)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"
