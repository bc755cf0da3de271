"""Files that can be made again, by the content that they follow from: the latest used ones are kept."""

import contextlib
import os
from pathlib import Path

from tdq_core.errors import InputError, NotNow
from tdq_core.system.files import write_atomically
from tdq_core.system.reading import Damaged
from tdq_core.system.sealed import read_sealed, sealed

LIMIT = 2.0
"""Gigabytes of one kind that are kept where $TDQ_CACHE_GB does not say otherwise; at 0 nothing is kept or read."""


def limit() -> int:
    """Bytes of one kind that are kept.

    Raises:
        InputError: $TDQ_CACHE_GB is no number of gigabytes.
    """
    text = os.environ.get("TDQ_CACHE_GB")
    try:
        size = LIMIT if text is None else float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e6:
        raise InputError(f"The environment's TDQ_CACHE_GB must be a number of gigabytes from 0 on. Got '{text}'.")
    return int(size * 1e9)


class Cache:
    """Files of one kind in `folder`, by a name that says all that their content follows from.

    Nothing depends on it: what is not there, or cannot be read or written, is made again. Several processes may use
    one folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> bytes | None:
        """The content, which counts as used now; None where there is none."""
        path = self.folder / name
        if not limit():
            return None
        try:
            content = read_sealed(path)
            os.utime(path)
        except (OSError, Damaged):
            return None
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep `content`; those used longest ago go where there are too many. Without room nothing is kept."""
        if len(content) > limit():
            return
        with contextlib.suppress(NotNow):
            write_atomically(self.folder / name, sealed(content))
            self._prune(limit())

    def files(self) -> list[tuple[Path, os.stat_result]]:
        """All files that are kept now, the latest used first."""
        found = []
        for path in self.folder.glob("[!.]*"):
            with contextlib.suppress(OSError):  # another process has taken it away
                found.append((path, path.stat()))
        return sorted(found, key=lambda each: each[1].st_mtime_ns, reverse=True)

    def _prune(self, most: int) -> None:
        size = 0
        for path, stat in self.files():
            size += stat.st_size
            if size > most:
                with contextlib.suppress(OSError):
                    path.unlink()
