"""How far each answer of a network moved, kept in two bytes an image. Standard library and numpy only."""

import base64
import zlib

import numpy as np


def pack_moves(moved: np.ndarray) -> str:
    """Squared changes, of shape (n,), as text: their roots in 16-bit floats, upper bytes first, zlib, base64.

    Roots, for a change of 1e-10 is one that is measured, and 16 bits end at 6e-8: each is kept to a thousandth, or to
    4e-12 where that is more.
    """
    with np.errstate(over="ignore"):  # beyond the range is infinite, which is said where it is read
        roots = np.sqrt(np.asarray(moved, dtype=np.float64)).astype("<f2")
    halves = roots.view(np.uint8).reshape(-1, 2)
    return base64.b64encode(zlib.compress(halves[:, ::-1].T.tobytes(), 9)).decode()


def unpack_moves(text: str, n: int) -> np.ndarray:
    """The inverse of `pack_moves`: float64 of shape (n,). ValueError: it holds anything but n of them."""
    reader = zlib.decompressobj()
    try:
        held = reader.decompress(base64.b64decode(text, validate=True), 2 * n + 1)
    except zlib.error as error:
        raise ValueError(f"it is no packed text ({error}).") from error
    if len(held) != 2 * n or not reader.eof:
        raise ValueError(f"{n:,} of them take {2 * n:,} bytes, and it holds others.")
    halves = np.frombuffer(held, dtype=np.uint8).reshape(2, n)
    roots: np.ndarray = np.ascontiguousarray(halves[::-1].T).view("<f2").reshape(n).astype(np.float64)
    return np.where(np.signbit(roots) & (roots != 0), -1.0, roots**2)
