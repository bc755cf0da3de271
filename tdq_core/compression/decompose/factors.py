"""What every decomposition gives, and what it may be told beside weight and ranks."""

from dataclasses import dataclass
from typing import Protocol

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
        solver: whose implementation, see `tdq_core.specs.choices.SOLVERS`.
    """

    seed: int = 0
    eta: float | None = None
    solver: str = "tdq"


class Details(Struct, frozen=True, kw_only=True):
    """What a step tells of one layer; its fields become those of the record's `detail`."""
