"""Caches that vouch for themselves: bytes behind their SHA-256, so that one wrong bit is seen. No torch here."""

import hashlib
from pathlib import Path

from tdq_core.system.reading import Damaged, read_bytes

_MARK = b"tdq-sealed-1\n"
_DIGEST = hashlib.sha256().digest_size


def sealed(content: bytes) -> bytes:
    """What `read_sealed` takes apart."""
    return _MARK + hashlib.sha256(content).digest() + content


def read_sealed(path: Path) -> bytes:
    """The content of a sealed file of any size.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is no sealed file, or not as it was written.
    """
    held = read_bytes(path, most=None)
    mark, digest, content = held[: len(_MARK)], held[len(_MARK) :][:_DIGEST], held[len(_MARK) + _DIGEST :]
    if mark != _MARK or hashlib.sha256(content).digest() != digest:
        raise Damaged("it is not as it was written")
    return content
