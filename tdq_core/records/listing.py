"""What lies in a folder of values, and what has been read of it already. No torch here."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")
ENDING = ".json"


class Stamp(NamedTuple):
    """What changes where a file changes: time in ns, size in bytes, and which file it is."""

    time: int
    size: int
    number: int


class Entry(NamedTuple):
    """A name in a folder; its stamp is None where nothing can be said of it, as of a link to nothing."""

    path: str
    stem: str
    stamp: Stamp | None


class LeftOut(NamedTuple):
    """A file that cannot be read, in a sentence."""

    sentence: str


Read = dict[str, tuple[Stamp | None, V | LeftOut]]


def listed(folder: Path) -> Iterator[Entry]:
    """Everything named `*.json` in `folder`, by name; nothing where there is no folder.

    Raises:
        OSError: it is there and cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((e for e in entries if e.name.endswith(ENDING)), key=lambda e: e.name)
            for entry in found:
                yield Entry(entry.path, entry.name[: -len(ENDING)], _stamp(entry))
    except (FileNotFoundError, NotADirectoryError):
        return


def _stamp(entry: "os.DirEntry[str]") -> Stamp | None:
    try:
        about = entry.stat()
    except OSError:
        return None
    return Stamp(about.st_mtime_ns, about.st_size, about.st_ino)


class Memory(Generic[V]):
    """What has been read of some folders: as much as there is, whatever its number, for as long as it is there."""

    def __init__(self) -> None:
        self._read: Read[V] = {}

    def unknown(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that are new here, or have changed."""
        return [e for e in entries if (known := self._read.get(e.path)) is None or known[0] != e.stamp]

    def get(self, entry: Entry) -> V | LeftOut | None:
        """What was read of it as it is; None where it has not been read."""
        known = self._read.get(entry.path)
        return known[1] if known and known[0] == entry.stamp else None

    def keep(self, read: Read[V]) -> None:
        """From now on these are known, and nothing else; values are frozen, so that sharing them is safe."""
        self._read = read
