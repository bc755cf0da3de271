"""Which activations meet the weights at a place along K, in the order of ONNX Runtime's kernels.

Convolutions run as matrix products over images whose channels lie innermost: K counts the places of the kernel, and
within each the channels of a group (MLAS, `Im2col` and `MlasConvSymPackW`). What is padded holds the zero point, a
number like any other.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Activations = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Window:
    """How a convolution of D dimensions goes over its input.

    Attributes:
        kernel, strides, dilations: D numbers each.
        pads: D begins, then D ends, as ONNX has them; None: as `auto` says.
        auto: ONNX's auto_pad where that decides, SAME_UPPER or SAME_LOWER.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | None
    auto: str = ""

    def padded(self, x: np.ndarray, zero: int) -> np.ndarray:
        """The input (N, C, ...) with its borders."""
        sides = [(0, 0), (0, 0), *self._sides(x.shape[2:])]
        return np.pad(x, sides, constant_values=zero) if any(map(sum, sides)) else x

    def outputs(self, padded: tuple[int, ...]) -> tuple[int, ...]:
        """Places of the output from the shape of the padded input, both D numbers."""
        spans = self._spans()
        return tuple((size - span) // step + 1 for size, span, step in zip(padded, spans, self.strides, strict=True))

    def _spans(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def _sides(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        if self.pads is not None:
            return list(zip(self.pads[: len(sizes)], self.pads[len(sizes) :], strict=True))
        sides = []
        for size, span, step in zip(sizes, self._spans(), self.strides, strict=True):
            missing = max((math.ceil(size / step) - 1) * step + span - size, 0)
            less, more = missing // 2, missing - missing // 2
            sides.append((less, more) if self.auto == "SAME_UPPER" else (more, less))
        return sides


def of_convolution(padded: np.ndarray, window: Window, channels: range) -> Activations:
    """Of one group of a convolution.

    Args:
        padded: (N, C, ...) uint8; channels: those of the group.
    """
    places = list(itertools.product(*map(range, window.kernel)))
    sizes = window.outputs(padded.shape[2:])

    def at(k: int) -> np.ndarray:
        place, channel = divmod(k, len(channels))
        steps = zip(places[place], window.dilations, window.strides, sizes, strict=True)
        cut = tuple(slice(p * d, p * d + s * (n - 1) + 1, s) for p, d, s, n in steps)
        return padded[:, channels[channel]][(slice(None), *cut)].ravel()

    return at


def of_product(x: np.ndarray) -> Activations:
    """Of a matrix product over the last axis of x (..., K) uint8."""
    columns = np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)
    return columns.__getitem__
