"""What a recipe must meet, as a checked value. No torch here."""

import re
from dataclasses import dataclass

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord

_UNITS = {"drop": ("<=", "%"), "ratio": (">=", ""), "latency": ("<=", "ms")}
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

    @property
    def text(self) -> str:
        sign, unit = _UNITS[self.kind]
        return f"{self.kind}{sign}{100 * self.limit if self.kind == 'drop' else self.limit:g}{unit}"

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
    limit = float(number) / 100 if kind == "drop" else float(number)
    if (kind == "drop" and limit >= 1) or (kind == "ratio" and limit <= 1) or (kind == "latency" and limit <= 0):
        raise InputError(f"A drop lies below 100 %, a ratio above 1, a latency above 0 ms. Got '{text}'.")
    return Target(kind, limit)
