"""What every decomposition gives, and what it may be told beside weight and ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from msgspec import Struct
from torch import Tensor


class Factors(Protocol):
    """Factors of a weight that can be multiplied out again."""

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        ...


@dataclass(frozen=True)
class Options:
    """What a method may need beside weight and ranks; the same for all layers.

    Attributes:
        seed: of random starts (cp).
        eta: how far EPC may raise a CP's error, None for no correction.
        optimal: whether EPC is solved to its optimum, see `epc_optimum`.
        effort: of CP: how many times the usual random starts and sweeps.
        climbs: CP grows from lower ranks, see `ladder`, in place of random starts.
        solver: whose implementation, see `tdq_core.specs.choices.SOLVERS`.
        short_fits: fits to outputs end after a few short sweeps, with an error that is a few per cent larger.
    """

    seed: int = 0
    eta: float | None = None
    optimal: bool = False
    effort: float = 1.0
    climbs: bool = False
    solver: str = "tdq"
    short_fits: bool = False


class Details(Struct, frozen=True, kw_only=True):
    """What a step tells of one layer; its fields become those of the record's `detail`.

    Attributes:
        RELATIVE: the fields that are errors relative to a norm.
    """

    RELATIVE: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def joined(cls, parts: Sequence[Self], shares: Sequence[float]) -> Self:
        """Of a grouped layer, from what is told of each group: relative errors are those of the whole, of everything
        else the largest is told, and what is true or false holds where it holds of all groups.

        Args:
            shares: of the whole's squared norm, they sum up to 1.
        """

        def field(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            if name in cls.RELATIVE:
                return relative(values, shares)
            return min(values) if isinstance(values[0], bool) else max(values)

        return cls(**{name: field(name) for name in cls.__struct_fields__})


def relative(errors: Sequence[float], shares: Sequence[float]) -> float:
    """The relative error of a whole from those of its parts, which have these shares of its squared norm."""
    return math.sqrt(sum(share * error**2 for error, share in zip(errors, shares, strict=True)))
