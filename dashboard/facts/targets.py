"""What a plan may cost at most, and how it stands against that: plain values, no streamlit."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from dashboard.words import text
from tdq_core.ranks.plan import Plan
from tdq_core.specs import PRECISIONS

LEAST_RATIO = 1.01
"""Of the control of a ratio."""


class Target(NamedTuple):
    """One bound that may be set.

    Attributes:
        key: in the address; unit: of what is entered, in the plan's own (a share of the images, params, MACs, bytes).
        least, most: that can be entered; step: of its control.
    """

    key: str
    label: str
    unit: float
    least: float
    most: float
    step: float


TARGETS: Mapping[str, Target] = {
    "drop": Target("most_drop", "Drop at most (points)", 0.01, 0.1, 99.0, 0.5),
    "params": Target("most_params", "Params at most (millions)", 1e6, 0.001, 1e6, 0.1),
    "macs": Target("most_macs", "MACs at most (millions)", 1e6, 0.001, 1e9, 10.0),
    "bytes": Target("most_mb", "Bytes at most (MB)", 1e6, 0.001, 1e6, 0.1),
}
"""By what a plan costs."""


def standing(name: str, value: float, most: float | None) -> str:
    """Whether a plan that costs `value` keeps the bound, for under its number; '' where none is set. With a sign, not
    by a colour alone."""
    if most is None:
        return ""
    told = f"{100 * most:g}{_POINTS}" if name == "drop" else _AMOUNTS[name](most)
    return f":material/check: within {told}" if value <= most else f":material/close: above {told}"


_POINTS = "\N{NO-BREAK SPACE}points"
_AMOUNTS = {"params": text.count, "macs": text.count, "bytes": text.file_size}


class Asked(NamedTuple):
    """What the rank rule's controls have to say for a bound: what the ratio counts, and how large it is."""

    budget: str
    ratio: float


def ratio_for(name: str, most: float, *, dense: Plan, precision: str, file: int | None) -> Asked:
    """The ratio that keeps a bound on params, MACs or bytes; `dense`: the plan that leaves every layer alone, `file`:
    bytes of the dense file where a plan by bytes can be made, else bytes follow from params."""
    if name == "bytes" and file:
        return Asked("bytes", _up(file / most))
    if name == "bytes":
        return Asked("params", _up(dense.params * PRECISIONS[precision].weight_bits / 8 / most))
    return Asked(name, _up((dense.params if name == "params" else dense.macs) / most))


def _up(ratio: float) -> float:
    """To the steps of the control, so that the bound is kept."""
    return max(LEAST_RATIO, math.ceil(100 * ratio) / 100)
