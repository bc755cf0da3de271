"""Locks that die with their process: whoever is killed leaves nothing locked, and others can tell. No torch here.

A lock is flock(2) on a file or a folder: it excludes other processes and other threads, and the system lets go of it
when its holder ends, however that happens. Where a file system knows no locks, everybody is let in.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def locked(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Take the lock of an open file or folder until it is closed; False where others hold it and nobody waits."""
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    return True


@contextlib.contextmanager
def alone(path: Path, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Be the only one within under this name, on this machine; the file is gone afterwards.

    Args:
        on_wait: is called once where somebody else is within, before their end is awaited.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = _taken(path, on_wait)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is locked: whoever waits for it finds that it has gone, and makes it anew
        os.close(descriptor)


def _taken(path: Path, on_wait: Callable[[], object]) -> int:
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            if not locked(descriptor):
                if not told:
                    on_wait()
                    told = True
                locked(descriptor, wait=True)
            if _is_there(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    return False


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of this file or folder; what is not there nobody holds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # not ours to look into
    try:
        return not locked(descriptor, shared=True)
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Whether a process of this number is there, or its zombie."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
