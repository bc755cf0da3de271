"""What is kept to save work: the latest used stay, and nobody loses what is in use. No torch here."""

import contextlib
import os
import shutil
import time
from collections import OrderedDict
from pathlib import Path

from tdq_core.system.locks import locked

_held: "OrderedDict[Path, int]" = OrderedDict()
"""Folders that this process uses, by their descriptors: a shared lock on each tells other processes so."""


def use(folder: Path, most: int) -> None:
    """Mark a folder of a cache as used now, and as in use by this process, which holds its latest `most`; of its
    neighbours, the latest `most` and those that other processes use stay."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.utime(folder, ns=(time.time_ns(), time.time_ns()))  # finer than the clock of the file system
    _hold(folder.absolute(), most)
    for old in _latest_first(folder.parent)[most:]:
        _remove_unused(old)


def _hold(folder: Path, most: int) -> None:
    if folder in _held and not _is_there(folder, _held[folder]):
        os.close(_held.pop(folder))
    if folder not in _held:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            locked(descriptor, shared=True)
            _held[folder] = descriptor
    if folder in _held:
        _held.move_to_end(folder)
    mine = [other for other in _held if other.parent == folder.parent]
    for other in mine[:-most]:
        os.close(_held.pop(other))


def _is_there(folder: Path, descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return folder.stat().st_ino == os.fstat(descriptor).st_ino
    return False


def _latest_first(parent: Path) -> list[Path]:
    times = {}
    for child in parent.iterdir():
        with contextlib.suppress(OSError):  # another process may be removing it
            if child.is_dir():
                times[child] = child.stat().st_mtime_ns
    return sorted(times, key=lambda child: times[child], reverse=True)


def _remove_unused(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if locked(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
