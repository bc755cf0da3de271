"""The table of methods with torch: from a weight and ranks to factors, from factors to layers.

What a method is called, costs and refuses stands in `tdq_core.layers.methods`. A new one is a row there, a file beside
those in `decompose/`, and a row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from tdq_core.compression.calibrate.fit import Fitted, fit_cp_to, fit_spatial_to, fit_svd_to, fit_tucker2_to
from tdq_core.compression.calibrate.moments import Moments
from tdq_core.compression.decompose import tensorly_solver
from tdq_core.compression.decompose.components import degeneracy
from tdq_core.compression.decompose.cp import SWEEPS, Cp, decompose_cp
from tdq_core.compression.decompose.epc import correct_cp, decompose_cp_corrected
from tdq_core.compression.decompose.epc_optimum import optimum
from tdq_core.compression.decompose.factors import Details, Factors, Options
from tdq_core.compression.decompose.groups import grouped, joined, parts_of
from tdq_core.compression.decompose.ladder import grow, rung_below
from tdq_core.compression.decompose.plain_layers import cp_layers, svd_layers, tucker2_layers
from tdq_core.compression.decompose.spatial import decompose_spatial, spatial_layers
from tdq_core.compression.decompose.svd import Svd, decompose_svd
from tdq_core.compression.decompose.tucker2 import Tucker2, decompose_tucker2

GROWN = 5
"""Sweeps of least squares of all components, old and new, before the correction takes over."""
Ranks = tuple[int, ...]
Start = Callable[[], Factors]
"""Factors of the weights at the same ranks, found when they are asked for."""


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """How one method is carried out on a layer without groups, or on one group; kernels are (C_out, C_in, K_h, K_w).

    Attributes:
        decompose: by solver, factors of a kernel at these ranks.
        build: the plain layers that factors of a layer make.
        stages: names of those layers, in their order: files keep weights by them.
        carriers: of the stages that carry stride, padding and dilation down and across.
        details: what is told of the factors of a kernel, for the record.
        fit: factors of least error in a layer's outputs, see `calibrate.fit`.
        fit_starts: the fit begins at factors of the weights.
    """

    decompose: dict[str, Callable[[Tensor, Ranks, Options], Any]]
    build: Callable[[Any, Any], nn.Sequential]
    stages: tuple[str, ...]
    carriers: tuple[str, str]
    fit: Callable[[Moments, Tensor, Ranks, Tensor, Options, Start], Fitted]
    details: Callable[[Any, Tensor], tuple[Details, ...]] = lambda factors, kernel: ()
    fit_starts: bool = False


class Sweeps(Details, frozen=True):
    """Of Tucker-2: alternating sweeps after the first, and the error of the start."""

    RELATIVE: ClassVar[tuple[str, ...]] = ("hosvd_error",)

    sweeps: int
    hosvd_error: float


class CpSweeps(Details, frozen=True):
    """Of CP: sweeps and their least error, with the correction those of `balanced`; starts tried; sweeps of the
    correction after that."""

    RELATIVE: ClassVar[tuple[str, ...]] = ("als_error",)

    sweeps: int
    converged: bool
    als_error: float
    starts: int
    epc_sweeps: int


def _cp(weight: Tensor, ranks: Ranks, options: Options) -> Cp:
    effort = max(options.effort, 1.0)  # the lowest rung is cheap, and all others stand on it
    if options.eta is None:
        return decompose_cp(weight, *ranks, seed=options.seed, effort=effort)
    finish = optimum if options.optimal else None
    return decompose_cp_corrected(weight, *ranks, eta=options.eta, seed=options.seed, finish=finish, effort=effort)


def _grown(weight: Tensor, below: Cp, ranks: Ranks, options: Options) -> Cp:
    if options.eta is None:
        return grow(weight, below, *ranks, seed=options.seed, sweeps=SWEEPS)
    finish = optimum if options.optimal else None
    start = grow(weight, below, *ranks, seed=options.seed, sweeps=GROWN)
    return correct_cp(weight, start, eta=options.eta, finish=finish, effort=options.effort)


def _told_of_tucker2(factors: Tucker2, kernel: Tensor) -> tuple[Details, ...]:
    return (Sweeps(sweeps=max(len(factors.errors) - 2, 0), hosvd_error=factors.errors[0]),)


def _told_of_cp(factors: Cp, kernel: Tensor) -> tuple[Details, ...]:
    sweeps = CpSweeps(
        sweeps=len(factors.errors), converged=factors.converged, als_error=min(factors.errors), starts=factors.starts,
        epc_sweeps=factors.epc_sweeps,
    )  # fmt: skip
    return sweeps, degeneracy(factors, kernel)


IMPLEMENTATIONS: dict[str, Implementation] = {
    "tucker2": Implementation(
        decompose={
            "tdq": lambda w, ranks, options: decompose_tucker2(w, *ranks),
            "tensorly": tensorly_solver.METHODS["tucker2"],
        },
        build=tucker2_layers,
        stages=("input", "core", "output"),
        carriers=("core", "core"),
        details=_told_of_tucker2,
        fit=fit_tucker2_to,
    ),
    "cp": Implementation(
        decompose={
            "tdq": _cp,
            "tensorly": tensorly_solver.METHODS["cp"],
        },
        build=cp_layers,
        stages=("input", "depthwise", "output"),
        carriers=("depthwise", "depthwise"),
        details=_told_of_cp,
        fit=fit_cp_to,
        fit_starts=True,
    ),
    "svd": Implementation(
        decompose={
            "tdq": lambda w, ranks, options: decompose_svd(w, *ranks),
            "tensorly": tensorly_solver.METHODS["svd"],
        },
        build=svd_layers,
        stages=("inner", "output"),
        carriers=("inner", "inner"),
        fit=fit_svd_to,
    ),
    "spatial": Implementation(
        decompose={"tdq": lambda w, ranks, options: decompose_spatial(w, *ranks)},
        build=spatial_layers,
        stages=("vertical", "horizontal"),
        carriers=("vertical", "horizontal"),
        fit=fit_spatial_to,
    ),
}


def grows_from(method: str, ranks: Ranks, options: Options) -> Ranks | None:
    """The lower ranks whose factors those at `ranks` grow from; None where they need no others."""
    rung = rung_below(*ranks) if options.climbs and method == "cp" else None
    return (rung,) if rung else None


def decompose(
    weight: Tensor, method: str, ranks: Ranks, options: Options, *, groups: int = 1, below: Factors | None = None
) -> Factors:
    """Factors of `weight` (C_out, C_in / groups, K_h, K_w) by `method`, of each group at `ranks`.

    Args:
        below: those at the ranks that `grows_from` names, where they are at hand.
    """
    if lower := grows_from(method, ranks, options):
        below = below or decompose(weight, method, lower, options, groups=groups)
        kernels = zip(weight.chunk(groups), parts_of(below), strict=True)
        return grouped([_grown(kernel, cast(Cp, part), ranks, options) for kernel, part in kernels])
    solve = IMPLEMENTATIONS[method].decompose[options.solver]
    return grouped([solve(kernel, ranks, options) for kernel in weight.chunk(groups)])


def told_of(method: str, factors: Factors, kernel: Tensor) -> tuple[Details, ...]:
    """What is told of `factors` of `kernel` (C_out, C_in / groups, K_h, K_w), for the record."""
    parts = parts_of(factors)
    kernels = kernel.chunk(len(parts))
    told = [IMPLEMENTATIONS[method].details(part, k) for part, k in zip(parts, kernels, strict=True)]
    return joined(told, [float(k.double().square().sum()) for k in kernels])


__all__ = ["IMPLEMENTATIONS", "Implementation", "Svd", "decompose"]
