"""What every file of ours needs: to be written whole or not at all, to be known by its content, and a place to be."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from tdq_core.errors import InputError, NotNow
from tdq_core.system.leftovers import sweep
from tdq_core.system.locks import locked

_BLOCK = b"\0" * 4096
"""A full disk takes an empty file, but not this."""


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write `content` to `path` through a temporary file in the same folder: a reader sees all of it or nothing, and
    what was written survives a crash of the machine.

    Characters that UTF-8 cannot say, such as bytes of a file's name that are none, are written as escapes.

    Raises:
        NotNow: the system does not let it be written; nothing of it is left behind.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        _write(path, data)
    except OSError as error:
        raise NotNow(f"'{path}' cannot be written: {error.strerror or error}.") from error
    return path


def _write(path: Path, data: bytes) -> None:
    with contextlib.ExitStack() as undo:
        prefix = f".{os.getpid()}-"
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=prefix, suffix=".tmp", delete=False) as file:
            undo.callback(Path(file.name).unlink)
            locked(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)  # temporary files are private; a record is not
            Path(file.name).replace(path)
        undo.pop_all()
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Let the names in `folder` survive a crash, where the file system can be asked for it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_folder(folder: Path, what: str, way_out: str) -> None:
    """Return where files can be written in `folder`, or in the folder that it will be made in; nothing is left there.

    Args:
        what: the folder's name in the error's sentence, with its article.
        way_out: what to do instead, for the error's sentence.

    Raises:
        InputError: it is not a folder, cannot be made, cannot be written to, or its disk is full.
    """
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder.absolute())) as file:
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{what} '{folder}' cannot be written to ({error.strerror or error}): {way_out}.") from error


def require_file(path: Path) -> None:
    """Return where a file of this name can be written; InputError, in a sentence that names it, where it cannot."""
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: name a file in it.")
    require_folder(path.parent, "The folder", "name another file")


def _nearest(folder: Path) -> Path:
    """`folder` where it is there, else the innermost of those that it will be made in."""
    with contextlib.suppress(FileNotFoundError):
        folder.stat()
        return folder
    return _nearest(folder.parent)


def user_path(text: str | Path) -> Path:
    """A path as a person writes it: '~' is the home folder, where there is such a person."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  (Path.expanduser fails where nobody has that name)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
