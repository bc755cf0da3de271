"""The one way to read a file back: whole, without ever waiting for it, and as plain values that can be written again.

What lies on a disk may have been torn, edited, or put there by anybody: a folder, a pipe or a link to nothing has that
name too. Whatever is wrong with it is a `Damaged`, a ValueError with a reason that fits on a line. No torch here.
"""

import contextlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

LARGEST = 256 * 2**20
"""Bytes of a file of plain values; nothing that TDQ writes comes near it."""


class Damaged(ValueError):
    """A file that is not what its name says; the text is the reason."""


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading.

    Raises:
        FileNotFoundError: nothing has that name.
        Damaged: what has it is no file, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not awaited
    except FileNotFoundError:
        if path.is_symlink():
            raise Damaged("it is a link to nothing") from None
        raise
    except OSError as error:
        raise Damaged((error.strerror or str(error)).lower()) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("it is not a file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise Damaged((error.strerror or str(error)).lower()) from error


def read_bytes(path: Path, *, most: int | None = LARGEST) -> bytes:
    """The content of a regular file.

    Args:
        most: a larger file is none of ours; None: any size.

    Raises:
        FileNotFoundError: nothing has that name.
        Damaged: what has it is no file, cannot be read, or is too large.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise Damaged(f"it has {size:,} bytes, and none of ours has more than {most:,}")
        return file.read()


def read_json(path: Path, *, most: int | None = LARGEST) -> Any:
    """The plain JSON value that a file holds; raises as `read_bytes`, and Damaged where it holds none."""
    return plain_json(read_bytes(path, most=most))


def plain_json(data: bytes | str) -> Any:
    """One JSON value of numbers that are finite; Damaged where it is none, or nests too deeply."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return _slowly(data)


def _slowly(data: bytes | str) -> Any:
    """By the standard library, which takes halves of surrogate pairs (names of files that are no UTF-8), and says more
    of what is wrong."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
        if not all(math.isfinite(number) for number in _floats(value)):
            raise ValueError("a number is too large")
        return value
    except RecursionError as error:
        raise Damaged("it nests too deeply") from error
    except UnicodeDecodeError as error:
        raise Damaged("it is not UTF-8 text") from error
    except ValueError as error:
        raise Damaged(f"it is not JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _floats(part)
