"""An index beside the files of runs: what was read and found whole, packed, by name, time and size. No torch here.

It is a cache and nothing else: JSON files are the truth. It is written where there are many of them, made anew where it
is missing, damaged or of another version, and a row that is stale is read from its file. Who is killed while writing
it loses nothing.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from tdq_core.records.listing import Entry, Stamp
from tdq_core.records.record import UNFIT

V = TypeVar("V")
NAME = ".index.sqlite"
VERSION = 2
"""Of what a row holds, and of what a value must be to be in it: raise it with either."""
FROM = 1000
"""Files from which on an index is kept: fewer are read as quickly."""
_WAIT_S = 0.5
_ROWS = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, time INT, size INT, number INT, packed BLOB)"


class Index(Generic[V]):
    """The index in `folder`.

    Args:
        pack, unpack: a value as bytes, and back; what they refuse is not in the index.
    """

    def __init__(self, folder: Path, pack: Callable[[V], bytes], unpack: Callable[[bytes], V]) -> None:
        self._path, self._pack, self._unpack = folder / NAME, pack, unpack

    def find(self, entries: Iterable[Entry]) -> dict[str, V]:
        """Of these files those that it holds as they are."""
        wanted = {e.path: e for e in entries}
        found: dict[str, V] = {}

        def look(index: sqlite3.Connection) -> None:
            for path, *stamp, packed in index.execute("SELECT path, time, size, number, packed FROM files"):
                entry = wanted.get(path)
                if entry and entry.stamp == Stamp(*stamp):
                    with contextlib.suppress(*UNFIT):
                        found[entry.path] = self._unpack(packed)

        if self._path.is_file():
            self._with(look)
        return found

    def update(self, read: Mapping[str, tuple[Stamp, V]], there: Iterable[Entry]) -> None:
        """Keep what was read, and drop what is not there any more."""
        rows, names = list(self._rows(read)), {e.path for e in there}

        def write(index: sqlite3.Connection) -> None:
            known = {path for (path,) in index.execute("SELECT path FROM files")}
            index.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in known - names])
            index.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

        if self._path.is_file() or not os.path.lexists(self._path):
            self._with(write)

    def _rows(self, read: Mapping[str, tuple[Stamp, V]]) -> Iterator[tuple[Any, ...]]:
        for path, (stamp, value) in read.items():
            with contextlib.suppress(*UNFIT):
                yield path, *stamp, self._pack(value)

    def _with(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Where the index is busy, cannot be written or is damaged, files are read as if there were none."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as index, index:
                if index.execute("PRAGMA user_version").fetchone() != (VERSION,):
                    index.execute("DROP TABLE IF EXISTS files")
                    index.execute(f"PRAGMA user_version = {VERSION}")
                index.execute(_ROWS)
                work(index)
        except sqlite3.OperationalError:
            return
        except (sqlite3.Error, *UNFIT):
            with contextlib.suppress(OSError):
                self._path.unlink()  # damaged: made anew the next time
