"""The table of methods: from a weight and ranks to factors. A new method is one entry here, one in `ranks.costs`
and one in `factorized`."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from tdq_core.decompose.cp import Cp, decompose_cp
from tdq_core.decompose.svd import Svd, decompose_svd
from tdq_core.decompose.tucker2 import Tucker2, decompose_tucker2


class Factors(Protocol):
    """What every method returns: factors that can be multiplied out again."""

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        ...


def _tucker2(weight: Tensor, ranks: tuple[int, ...], seed: int) -> Tucker2:
    return decompose_tucker2(weight, *ranks)


def _cp(weight: Tensor, ranks: tuple[int, ...], seed: int) -> Cp:
    return decompose_cp(weight, *ranks, seed=seed)


def _svd(weight: Tensor, ranks: tuple[int, ...], seed: int) -> Svd:
    return decompose_svd(weight, *ranks)


METHODS: dict[str, Callable[[Tensor, tuple[int, ...], int], Factors]] = {
    "tucker2": _tucker2,
    "cp": _cp,
    "svd": _svd,
}


def describe(factors: Factors) -> Mapping[str, Any]:
    """What the method tells of itself, for the record."""
    if isinstance(factors, Cp):
        return {"sweeps": len(factors.errors), "converged": factors.converged}
    if isinstance(factors, Tucker2):
        return {"sweeps": len(factors.errors) - 2, "hosvd_error": factors.errors[0]}
    return {}
