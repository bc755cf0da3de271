"""What processes that were killed have left half made: temporary files and folders, named by whose they are, and locked
as long as they are used. Whoever writes in the same place next sweeps them away. No torch here.
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tdq_core.system.locks import is_alive, locked

FOLDER = "tdq-"
_FILE = re.compile(r"\.(?:(\d+)-)?\w{8}\.tmp|\.[0-9a-f]{16}\.lock")
_FOLDER = re.compile(rf"{FOLDER}(\d+)-\w{{8}}")
_PATIENCE_S = 3600.0
"""An unlocked file that does not tell whose it is may be an older TDQ's, at work."""
_EVERY_S = 30.0
_swept: dict[Path, float] = {}


def sweep(folder: Path) -> None:
    """Remove the temporary files of dead processes from `folder`, now and then: it may hold thousands of others."""
    now = time.monotonic()
    if now - _swept.get(folder, -_EVERY_S) < _EVERY_S:
        return
    _swept[folder] = now
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
        for name in names:
            if found := _FILE.fullmatch(name):
                _remove_if_left(folder / name, found[1], Path.unlink)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what is half made; it goes with the work, and with the next one's begin where that was killed."""
    root = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        for old in root.glob(f"{FOLDER}*"):
            if found := _FOLDER.fullmatch(old.name):
                _remove_if_left(old, found[1], lambda left: shutil.rmtree(left, ignore_errors=True))
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-") as folder:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            locked(descriptor)
            yield Path(folder)
        finally:
            os.close(descriptor)


def _remove_if_left(path: Path, pid: str | None, remove: Callable[[Path], object]) -> None:
    """Remove it where whoever made it has ended: nobody of that number is there, and nobody holds it."""
    if pid is not None and is_alive(int(pid)):
        return
    with contextlib.suppress(OSError):
        if pid is None and path.suffix == ".tmp" and time.time() - path.lstat().st_mtime < _PATIENCE_S:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if locked(descriptor):
                remove(path)
        finally:
            os.close(descriptor)
