"""How the command line talks: results on stdout, progress and complaints on stderr.

All text passes `shown`, and nothing here reads markup: names and sentences come out as they are, whatever they hold,
on terminals of any encoding.
"""

import codecs
import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tdq_core.stats.sizes import both_ways as both_ways
from tdq_core.system.plain_text import printable
from tdq_core.system.progress import Progress

_PLAINER = {"→": "->", "…": "...", "\N{NO-BREAK SPACE}": " "}
_NOTE = "note"
"""The column that is folded where the terminal is too narrow."""
_LEAST = 30
"""Characters that a folded column keeps at least."""


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for a character that the terminal's encoding lacks."""
    if isinstance(error, UnicodeEncodeError) and (plain := _PLAINER.get(error.object[error.start])):
        return plain, error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error("tdq", _plainer)


def shown(text: object, stream: TextIO) -> str:
    """`text` as `stream` can show it: on one line, without control characters, in the stream's encoding."""
    return printable(text).encode(_encoding(stream), "tdq").decode(_encoding(stream))


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def say(*lines: object) -> None:
    """Lines on stdout, one for each text."""
    for line in lines:
        _write(shown(line, sys.stdout) + "\n")


def tell(*lines: object) -> None:
    """Lines on stderr: what is said beside the result."""
    for line in lines:
        print(shown(line, sys.stderr), file=sys.stderr, flush=True)


def complain(sentence: object) -> None:
    """What TDQ cannot do, or has left out, on stderr."""
    tell(f"tdq: {sentence}")


def say_json(value: Any) -> None:
    """Plain JSON on stdout, and nothing else."""
    _write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def say_csv(text: str) -> None:
    """CSV on stdout as it is, but for what the terminal's encoding lacks."""
    _write(text.encode(_encoding(sys.stdout), "tdq").decode(_encoding(sys.stdout)))


def say_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A table on stdout; the columns named in `right` hold numbers. Nothing is cut: a last column called 'note' is
    folded where stdout is a terminal, longer lines go on below."""
    cells = [[shown(cell, sys.stdout) for cell in row] for row in (headers, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        for line in _folded(row, widths) if headers[-1] == _NOTE else [row]:
            sides = [_padded(c, w, right=h in right) for c, w, h in zip(line, widths, headers, strict=True)]
            text = "  ".join(sides).rstrip()
            _write((f"\x1b[1m{text}\x1b[0m" if number == 0 and _bold() else text) + "\n")


def _padded(cell: str, width: int, *, right: bool) -> str:
    room = " " * (width - cell_len(cell))
    return room + cell if right else cell + room


def _folded(row: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """A row as lines, the last cell folded into what the terminal leaves it."""
    width = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
    if not sys.stdout.isatty() or not row[-1]:
        return [list(row)]
    first, *more = textwrap.wrap(row[-1], max(width, _LEAST), break_on_hyphens=False)
    return [[*row[:-1], first], *([*[""] * (len(row) - 1), text] for text in more)]


def _bold() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar a stage, on stderr, gone when the work is done; nothing where stderr is not a terminal."""
    err = Console(stderr=True, highlight=False, markup=False, emoji=False)
    stage_name = TextColumn("{task.description:<20}", markup=False)
    columns = (stage_name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(shown(stage, sys.stderr), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield on_progress


def any_terminal() -> None:
    """Let nothing that is printed, by whomever it is, fail for its characters, or because a stream is closed."""
    sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="tdq")


def write_out() -> None:
    """Write what is left to be written of stdout, before the process ends."""
    _write("", flush=True)


def _write(text: str, *, flush: bool = False) -> None:
    """On stdout. Where nobody reads it any more (`| head`) the work goes on in silence; where it cannot be written (a
    full disk), that is one sentence and exit code 1."""
    try:
        print(text, end="", flush=flush)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(f"The result cannot be printed: {error.strerror}.")
            raise SystemExit(1) from error
