"""Records for others' tools: a CSV or Parquet file, or MLflow. The records themselves stay the truth. No torch here."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tdq_core.errors import InputError, NotNow
from tdq_core.records.logs.mlflow_server import MLflowLog
from tdq_core.records.logs.tables import CsvLog, ParquetLog
from tdq_core.records.record import RunRecord
from tdq_core.system.files import user_path

LOGS = "'csv:FILE', 'parquet:FILE' or 'mlflow[:URI]'"
"""The grammar of logs."""


class Log(Protocol):
    """Somewhere that is told of runs; one that it knows already is told once."""

    def add(self, records: Sequence[RunRecord], files: Path | None) -> None:
        """Tell of `records`, with the `files` that a run has exported; NotNow where that cannot be done."""


class Keep(Protocol):
    """Tells every log of some records."""

    def __call__(self, records: Sequence[RunRecord], *, files: Path | None = None) -> tuple[str, ...]:
        """A sentence for each log that could not be told."""


def open_log(text: str) -> Log:
    """The log of this name, see `LOGS`.

    Raises:
        InputError: no such kind of log, a file that cannot be written or holds something else, a package that is not
            installed, a server that does not answer.
    """
    kind, colon, place = text.partition(":")
    if kind == "mlflow" and (place or not colon):
        return MLflowLog(place or None)
    if kind in ("csv", "parquet") and place:
        path = user_path(place)
        return CsvLog(path) if kind == "csv" else ParquetLog(path)
    raise InputError(f"A '--log' is {LOGS}. Got '{text}'.")


@contextlib.contextmanager
def logging_to(texts: Sequence[str]) -> Iterator[Keep]:
    """Logs that are opened before the work begins, so that what cannot be told is said before it."""
    logs = [(text, open_log(text)) for text in dict.fromkeys(texts)]

    def keep(records: Sequence[RunRecord], *, files: Path | None = None) -> tuple[str, ...]:
        failed = []
        for text, log in logs:
            try:
                log.add(records, files)
            except NotNow as error:
                failed.append(f"The log '{text}' was not told: {error}")
        return tuple(failed)

    yield keep
