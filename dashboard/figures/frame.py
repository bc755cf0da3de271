"""Where the inside of a chart lies and what its ends are: for what is laid over it without drawing it anew."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from dashboard.figures.axes import log_range

HEIGHT = 500
MARGIN = {"l": 56, "r": 12, "t": 12, "b": 160, "autoexpand": False}
"""Pixels around the inside; they do not follow what stands there, or what is laid over would not fit."""
FAR = 1e15
"""Beyond all sizes."""
ROOM = 0.04
"""Of an axis's length, beyond its outermost points."""


class Frame(NamedTuple):
    """The axes of a drawn chart.

    Attributes:
        x_axis, y_axis: names in `dashboard.figures.tradeoff`.
        x: ends, as log10; y: ends, in points or per cent.
        top1: of the dense network (0-1).
    """

    x_axis: str
    y_axis: str
    x: tuple[float, float]
    y: tuple[float, float]
    top1: float = 0.0

    def across(self, value: float) -> float:
        """Place from the left, 0-1 inside; of a value above 0."""
        return (math.log10(value) - self.x[0]) / (self.x[1] - self.x[0])

    def down(self, value: float) -> float:
        """Place from the top, 0-1 inside."""
        return (self.y[1] - value) / (self.y[1] - self.y[0])


Ends = tuple[float, float]


def part_text(across: Sequence[float], down: Sequence[float]) -> str:
    """A part of a chart as the address has it: ends across, above 0, and down, in their units; '' of one without width
    or height."""
    ends = (*sorted(map(float, across)), *sorted(map(float, down)))
    text = ",".join(f"{end:.4g}" for end in ends)
    return text if read_part(text) else ""


def read_part(text: str) -> tuple[Ends, Ends] | None:
    """Ends across, as log10, and down, in their unit; None where it is no part of a chart."""
    try:
        left, right, low, high = map(float, text.split(","))
    except ValueError:
        return None
    if not (0 < left < right < FAR and -FAR < low < high < FAR):
        return None
    return (math.log10(left), math.log10(right)), (low, high)


def x_ends(values: Sequence[float]) -> tuple[float, float]:
    """As log10, around points; two decades where there are none."""
    low, high = log_range(values) or (0.0, 2.0)
    return low, high


def y_ends(values: Sequence[float]) -> tuple[float, float]:
    """Around points, in their unit."""
    low, high = min(values), max(values)
    room = max(ROOM * (high - low), 0.5)
    return low - room, high + room


def blank(x_axis: str, y_axis: str, dense: float, *, fewer: bool, span: float, top1: float) -> Frame:
    """Where nothing was measured: from the dense network's `dense` on the x axis to a tenth of it (or ten times, where
    the axis is a ratio: `fewer` is False), and drops up to `span` (0-1)."""
    ends = (dense / 10, dense) if fewer else (dense, 10 * dense)
    lost = (-1.0, 100 * span)
    y = lost if y_axis == "drop" else (100 * top1 - lost[1], 100 * top1 - lost[0])
    return Frame(x_axis, y_axis, x_ends(ends), y, top1)
