"""What a recipe must meet, as a checked value. No torch here."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from tdq_core.errors import InputError
from tdq_core.records.bounds import Positive
from tdq_core.records.record import Kept, RunRecord
from tdq_core.specs.option import require_choice

_UNITS = {"drop": ("<=", "%"), "ratio": (">=", ""), "latency": ("<=", "ms")}
_SHIFTS = {"drop": 2}
"""Decimal places by which people write a limit larger than it is kept: a drop in points."""
LEAST = {"size": "the smallest file", "latency": "the fastest file"}
"""What a drop may be kept by."""
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

    def met_by(self, record: RunRecord, drop: float, told_ms: float | None = None) -> bool:
        """Whether a complete `record` meets the target, its drop being `drop` on the images that count.

        Args:
            told_ms: of a call, by the times of its layers, where latency is told by these; None: as it was measured.
        """
        if self.kind == "drop":
            return drop <= self.limit + 1e-12
        if self.kind == "ratio":
            return record.bytes_ratio() >= self.limit
        if told_ms is not None:
            return told_ms <= self.limit
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


class Call(Kept, frozen=True):
    """A call whose time a recipe goes by, told by the times of the layers.

    Attributes:
        batch: images; threads: of the runtime.
    """

    batch: Positive = 1
    threads: Positive = 1

    def __str__(self) -> str:
        """'batch 1, 1 thread'."""
        return f"batch {self.batch}, {self.threads} thread{'s' * (self.threads != 1)}"

    def words(self, target: Target) -> tuple[str, ...]:
        """As a command asks for it."""
        numbers = {"--batch": self.batch, "--threads": self.threads}
        if target.kind == "drop":
            return "--least", "latency", *(w for flag, n in numbers.items() if n != 1 for w in (flag, str(n)))
        return tuple(w for flag, n in numbers.items() for w in (flag, str(n)))


def call_of(
    target: Target, *, least: str | None = None, batch: int | None = None, threads: int | None = None
) -> Call | None:
    """The call whose time ranks are planned by; None where they are planned by size.

    Args:
        least: what is to be least among what keeps a drop, 'size' (None) or 'latency'.
        batch, threads: of the call, where time is asked for; of a latency, where they are named, ranks are planned by
            the times of the layers.

    Raises:
        InputError: one that has no effect on this target, or cannot be.
    """
    if least is not None:
        require_choice("least", least, LEAST)
        if target.kind != "drop":
            raise InputError(
                f"The 'least' chooses among what keeps a drop, as 'drop<=1%'. Got it with '{target.text}', where what "
                "loses least wins: leave it out."
            )
    named = {"batch": batch, "threads": threads}
    given = {name: number for name, number in named.items() if number is not None}
    if target.kind == "ratio" or (target.kind == "drop" and least != "latency"):
        if given:
            raise InputError(
                f"A {' and '.join(map(repr, given))} is that of a time: give it with 'latency<=5ms', or with a drop at "
                f"the least latency. Got it with '{target.text}'."
            )
        return None
    for name, number in given.items():
        if not 1 <= number <= 4096:
            raise InputError(f"The '{name}' of a call lies between 1 and 4096. Got {number}.")
    return Call(**given) if given or target.kind == "drop" else None
