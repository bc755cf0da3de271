"""The table of methods: from a weight and ranks to factors. A new method is one entry here, one in `ranks.costs`
and one in `factorized`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from tdq_core.compression.decompose.cp import Cp, decompose_cp
from tdq_core.compression.decompose.epc import correct_cp, degeneracy
from tdq_core.compression.decompose.svd import Svd, decompose_svd
from tdq_core.compression.decompose.tucker2 import Tucker2, decompose_tucker2

EPC_START = 50
"""Sweeps of ALS before the correction's own rounds take over."""


class Factors(Protocol):
    """What every method returns: factors that can be multiplied out again."""

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        ...


@dataclass(frozen=True)
class Options:
    """What a method may need beside weight and ranks; the same for all layers.

    Attributes:
        seed: of random starts (cp).
        eta: how far EPC may raise a CP's error, None for no correction.
    """

    seed: int = 0
    eta: float | None = None


def _tucker2(weight: Tensor, ranks: tuple[int, ...], options: Options) -> Tucker2:
    return decompose_tucker2(weight, *ranks)


def _cp(weight: Tensor, ranks: tuple[int, ...], options: Options) -> Cp:
    if options.eta is None:
        return decompose_cp(weight, *ranks, seed=options.seed)
    return correct_cp(weight, decompose_cp(weight, *ranks, sweeps=EPC_START, seed=options.seed), eta=options.eta)


def _svd(weight: Tensor, ranks: tuple[int, ...], options: Options) -> Svd:
    return decompose_svd(weight, *ranks)


METHODS: dict[str, Callable[[Tensor, tuple[int, ...], Options], Factors]] = {
    "tucker2": _tucker2,
    "cp": _cp,
    "svd": _svd,
}


def describe(factors: Factors, weight: Tensor) -> dict[str, Any]:
    """What the method tells of itself, for the record."""
    if isinstance(factors, Cp):
        told = {"sweeps": len(factors.errors), "converged": factors.converged, "als_error": min(factors.errors)}
        return (
            told
            | {"starts": factors.starts, "epc_sweeps": factors.epc_sweeps, "epc_rounds": factors.epc_rounds}
            | degeneracy(factors, weight)
        )
    if isinstance(factors, Tucker2):
        return {"sweeps": len(factors.errors) - 2, "hosvd_error": factors.errors[0]}
    return {}
