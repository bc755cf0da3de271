"""What a recipe must meet, as a checked value. No torch here."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord

_UNITS = {"drop": ("<=", "%"), "ratio": (">=", ""), "latency": ("<=", "ms")}
_SHIFTS = {"drop": 2}
"""Decimal places by which people write a limit larger than it is kept: a drop in points."""
_RANGES = "A drop lies below 100 %, a ratio above 1, a latency above 0 ms."
_EXAMPLES = (
    "'drop<=1%' (points of top-1 against dense fp32), 'ratio>=4' (file, dense fp32 / compressed) or 'latency<=5ms'"
)


@dataclass(frozen=True)
class Target:
    """A bound on one measured number.

    Attributes:
        kind: 'drop' (share of the images, 0-1), 'ratio' (bytes of dense fp32 / bytes) or 'latency' (ms a batch).
        limit: the bound, in that unit.
    """

    kind: str
    limit: float

    def __post_init__(self) -> None:
        if self.kind not in _UNITS:
            raise InputError(f"A target must be {_EXAMPLES}. Got the kind '{self.kind}'.")
        object.__setattr__(self, "limit", float(self.limit) + 0.0)  # no -0.0: equal targets have equal texts
        inside = {"drop": 0 <= self.limit < 1, "ratio": self.limit > 1, "latency": self.limit > 0}[self.kind]
        if not inside or not math.isfinite(self.limit):
            raise InputError(f"{_RANGES} Got a {self.kind} of {self.limit!r}.")

    @classmethod
    def of(cls, kind: str, number: str | float) -> "Target":
        """The target whose limit is `number` as people write it: 1 or '1' for a drop of one point."""
        return cls(kind, float(Decimal(str(number)).scaleb(-_SHIFTS.get(kind, 0))))

    @property
    def number(self) -> str:
        """The limit as people write it, in points for a drop: every digit that it has, and no exponent."""
        return format(Decimal(repr(self.limit)).scaleb(_SHIFTS.get(self.kind, 0)).normalize(), "f")

    @property
    def text(self) -> str:
        """What `parse_target` reads as this very target: 'drop<=1%'."""
        sign, unit = _UNITS[self.kind]
        return f"{self.kind}{sign}{self.number}{unit}"

    @property
    def smallest_wins(self) -> bool:
        """Whether the smallest file that meets the target is best (else the least drop is)."""
        return self.kind == "drop"

    def met_by(self, record: RunRecord, drop: float) -> bool:
        """Whether a complete `record` meets the target, its drop being `drop` on the images that count."""
        if self.kind == "drop":
            return drop <= self.limit + 1e-12
        if self.kind == "ratio":
            return record.bytes_ratio() >= self.limit
        assert record.metrics and record.metrics.latency, "recipes for a latency measure it"
        return record.metrics.latency.median_ms <= self.limit


def parse_target(text: str) -> Target:
    """'drop<=1%', 'ratio>=4' or 'latency<=5ms' as a `Target`."""
    found = re.fullmatch(r"\s*(drop|ratio|latency)\s*(<=|>=)\s*(\d+(?:\.\d+)?)\s*(%|ms|x)?\s*", text)
    if not found:
        raise InputError(f"A target must be {_EXAMPLES}. Got '{text}'.")
    kind, sign, number, unit = found.groups()
    wanted = _UNITS[kind]
    if sign != wanted[0] or (unit or "") not in (wanted[1], "x" if kind == "ratio" else wanted[1]):
        raise InputError(f"A target must be {_EXAMPLES}. Got '{text}'.")
    try:
        return Target.of(kind, number)
    except InputError as error:
        raise InputError(f"{_RANGES} Got '{text}'.") from error
