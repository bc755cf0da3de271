"""Integers of few bits, packed without gaps: two of 4 bits in a byte, four of 6 bits in three."""

import numpy as np

BLOCK = 2**20
"""Integers at a time, a multiple of 8: every block fills whole bytes, and its bits, one a byte, stay below 8 MiB."""


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` integers of `bits` bits."""
    return -(-count * bits // 8)


def pack(integers: np.ndarray, bits: int) -> np.ndarray:
    """Signed integers in [-2^(bits-1), 2^(bits-1)), any shape, as uint8 of shape (packed_size,).

    Each is stored as integer + 2^(bits-1), most significant bit first, in C order; the last byte ends in zeros.
    """
    raised = (integers.reshape(-1).astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    blocks = [_packed(raised[at : at + BLOCK], bits) for at in range(0, len(raised), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.uint8)


def unpack(packed: np.ndarray, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """The int8 array of `shape` that `pack` was given."""
    count = int(np.prod(shape, dtype=np.int64))
    step = BLOCK * bits // 8
    blocks = [_unpacked(packed[at : at + step], bits) for at in range(0, len(packed), step)]
    raised = np.concatenate(blocks)[:count] if blocks else np.zeros(0, np.uint8)
    return (raised.astype(np.int16) - 2 ** (bits - 1)).astype(np.int8).reshape(shape)


def _packed(raised: np.ndarray, bits: int) -> np.ndarray:
    return np.packbits(np.unpackbits(raised[:, None], axis=1)[:, 8 - bits :])


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    count = 8 * len(packed) // bits
    each = np.unpackbits(packed)[: count * bits].reshape(count, bits)
    return np.packbits(np.pad(each, ((0, 0), (8 - bits, 0))), axis=1)[:, 0]
