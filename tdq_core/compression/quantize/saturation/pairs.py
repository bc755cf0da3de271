"""The law of saturating pairs, in NumPy: what is lost where neighbouring products are added in 16 bits.

Products of unsigned activations and signed weights, a in [0, 255] and w in [-128, 127], are added two by two along K:
(0, 1), (2, 3), and a last odd one with nothing. Each sum is clipped to 16 bits, then all are added in 32 bits (Intel,
"Intrinsics Guide", _mm256_maddubs_epi16). So the result is the exact one plus what the clipping takes from each pair,
and only pairs of weights that sum to more than 128, or to less than -128, can lose anything: 255 * 128 fits in 16 bits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LOWEST, HIGHEST = -(2**15), 2**15 - 1
SAFE = HIGHEST // 255
"""The largest size of the sum of two weights that never saturates: 128."""
_AT_ONCE = 2**22
"""Products of a step: 16 MB."""


@dataclass(frozen=True)
class RiskyPair:
    """Two neighbours along K, and the outputs in which they can saturate.

    Attributes:
        first: the place of the first along K.
        outputs: (R,) int64; weights: (R, 2) int32, those that meet there.
    """

    first: int
    outputs: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Lost:
    """What saturation takes from the outputs of a layer.

    Attributes:
        sums: (N, P) int32, to be added to the exact sums: N outputs at P places.
        pairs: how many pairs of products have saturated.
    """

    sums: np.ndarray
    pairs: int


def risky_pairs(weights: np.ndarray) -> list[RiskyPair]:
    """Pairs of the weights (N, K) int8 that saturate for some activations, in the order of K."""
    n, k = weights.shape
    paired = weights[:, : k - k % 2].reshape(n, -1, 2).astype(np.int32)  # one product alone always fits
    risky = np.abs(paired.sum(axis=2)) > SAFE
    found = ((int(at), np.flatnonzero(risky[:, at])) for at in np.flatnonzero(risky.any(axis=0)))
    return [RiskyPair(2 * at, outputs, paired[outputs, at]) for at, outputs in found]


def lost(pairs: Sequence[RiskyPair], activations: Callable[[int], np.ndarray], outputs: int) -> Lost | None:
    """What the pairs of a layer lose; None: nothing.

    Args:
        activations: from a place along K to the activations (P,) uint8 that meet the weights there.
        outputs: N.
    """
    sums, count = None, 0
    for pair in pairs:
        first, second = activations(pair.first), activations(pair.first + 1)
        for rows, places, taken in _taken(pair, first, second):
            if sums is None:
                sums = np.zeros((outputs, len(first)), np.int32)
            sums[pair.outputs[rows], places] += taken
            count += len(taken)
    return None if sums is None else Lost(sums, count)


def _taken(
    pair: RiskyPair, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows of the pair, places, what clipping adds there), where that is not zero."""
    largest = int(np.abs(pair.weights).max())
    reached = np.flatnonzero(first.astype(np.uint16) + second > HIGHEST // largest)  # elsewhere nothing can saturate
    step = max(1, _AT_ONCE // len(pair.outputs))
    for start in range(0, len(reached), step):
        places = reached[start : start + step]
        sums = pair.weights[:, :1] * first[places].astype(np.int32)
        sums += pair.weights[:, 1:] * second[places].astype(np.int32)
        taken = np.clip(sums, LOWEST, HIGHEST) - sums
        rows, columns = np.nonzero(taken)
        if len(rows):
            yield rows, places[columns], taken[rows, columns]
