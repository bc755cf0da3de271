"""Error-preserving correction: the same error with the smallest components.

CP components of nearly opposite sign can grow without bound and cancel each other; once they are quantized, they no
longer do. Phan, Tichavsky and Cichocki ("Error preserving correction for CPD and bounded-norm CPD", 2017) and Phan et
al. ("Stable low-rank tensor decomposition for compression of convolutional neural network", ECCV 2020) minimise the
components under a bound on the error. Here every factor update is a ridge regression whose ridge is set by the error
that may still be spent. Before that, factors are found with small components from the start, see `balanced`.

There is no such correction for Tucker-2 and SVD: their outer factors have orthonormal columns, the core is then no
larger than the kernel itself, and no components are left that could cancel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.decompose.als import Fit, Products, affordable
from tdq_core.compression.decompose.balanced import balanced
from tdq_core.compression.decompose.components import sensitivity, spread, sum_of_squared_norms, weights_of
from tdq_core.compression.decompose.cp import Compressed, Cp, best_start, compress, made_of, random_start, starts_tried
from tdq_core.compression.decompose.ridge import smallest_within

SWEEPS, TOL = 200, 1e-5
SINGLE, DEAR = 1.2, 0.2
"""So many times the usual work is affordable where the tensor is multiplied in float32, and it is where all sweeps
would take more than so many times the usual work."""
STARTS = 0.25
"""Of the usual work, for random starts to be tried."""
LAST_SWEEPS = 200
Finish = Callable[[Tensor, list[Tensor], float], list[Tensor]]


def decompose_cp_corrected(
    weight: Tensor, rank: int, *, eta: float, seed: int = 0, finish: Finish | None = None, effort: float = 1.0
) -> Cp:
    """CP of `weight` (C_out, C_in, K_h, K_w) at `rank` with small components: `correct_cp` of the best random start.

    With an `effort` above 1 that is done so many times from other starts, and the least error is kept.
    """
    kernel, searches = compress(weight, rank), max(1, round(effort))
    starts = starts_tried(kernel, rank, 1.0, share=STARTS)
    if kernel.norm == 0:
        return made_of(kernel, best_start(kernel, rank, seed, 1), weight, starts=1)  # all components are zero

    def found(search: int) -> Fit:
        if starts == 1:  # a trial would cost much and choose nothing
            return _together(kernel, random_start(kernel.core, rank, seed, search), 1.0)
        return _together(kernel, best_start(kernel, rank, seed, starts, first=search * starts).factors, 1.0)

    best = min((found(search) for search in range(searches)), key=lambda fit: fit.errors[-1])
    return _corrected(kernel, best, weight, starts=searches * starts, eta=eta, finish=finish)


def correct_cp(weight: Tensor, made: Cp, *, eta: float, finish: Finish | None = None, effort: float = 1.0) -> Cp:
    """A CP of `weight` (C_out, C_in, K_h, K_w) with small components, from `made`.

    Error and components are lowered together first (in `effort` times the usual sweeps, fewer where a sweep costs more:
    the number follows from the shape alone); the correction after it may raise the error to `allowed_error`, of the
    lower one of that and `made`'s. What `finish` makes of core, factors and the bound of their error comes last.
    """
    kernel = compress(weight, made.out.shape[1])
    if kernel.norm == 0:
        return made  # all components are zero already
    factors = spread([basis.T @ f for basis, f in zip(kernel.bases, (made.out, made.in_, made.spatial), strict=True)])
    factors = [f / kernel.norm ** (1 / 3) for f in factors]
    fit = _together(kernel, factors, effort)
    errors, better = (*made.errors, *fit.errors[1:]), fit.errors[-1] <= made.errors[-1]
    fit = Fit(fit.factors, errors, fit.converged) if better else Fit(factors, made.errors, made.converged)
    return _corrected(kernel, fit, weight, starts=made.starts, eta=eta, finish=finish)


def _together(kernel: Compressed, factors: list[Tensor], effort: float) -> Fit:
    """Error and components of the core lowered together."""
    sweeps, single = _sweeps(kernel.core.shape, factors[0].shape[1], effort)
    return balanced(kernel.core, factors, lost=kernel.lost, sweeps=sweeps, tol=TOL, single=single)


def _corrected(
    kernel: Compressed, fit: Fit, weight: Tensor, *, starts: int, eta: float, finish: Finish | None
) -> Cp:  # fmt: skip
    """The smallest components that are found within the allowed error of `fit`, as a CP of `weight`."""
    bound = _bound(kernel, fit.errors[-1], eta)
    sweeps = affordable(kernel.core.shape, fit.factors[0].shape[1], LAST_SWEEPS)
    last = correct(kernel.core, fit.factors, bound, objective="sensitivity", sweeps=sweeps)
    factors = finish(kernel.core, last.factors, bound) if finish else last.factors
    out, in_, spatial = spread(
        [basis @ f * kernel.norm ** (1 / 3) for basis, f in zip(kernel.bases, factors, strict=True)]
    )
    return Cp(out, in_, spatial, (weight.shape[2], weight.shape[3]), fit.errors, fit.converged, starts=starts,
              epc_sweeps=len(last.history) - 1)  # fmt: skip


def allowed_error(error: float, eta: float) -> float:
    """(1 + eta) `error`; from an error of one half on, the share `eta` of what is left to lose.

    At an error of 1 the smallest components are none at all, and nothing of the kernel is kept.
    """
    return error + eta * min(error, 1 - error)


def _bound(kernel: Compressed, error: float, eta: float) -> float:
    """The error that the factors of the core may have, so that the kernel's is `allowed_error`."""
    return math.sqrt(max(allowed_error(error, eta) ** 2 - kernel.lost, 0.0))


def _sweeps(shape: tuple[int, ...], rank: int, effort: float) -> tuple[int, bool]:
    """How many sweeps are affordable, and whether in float32: where they are dear."""
    wanted = max(10, round(effort * SWEEPS))
    single = affordable(shape, rank, wanted, effort=DEAR * effort) < wanted
    return affordable(shape, rank, wanted, effort=(SINGLE if single else 1) * effort), single


@dataclass(frozen=True)
class Corrected:
    """Factors after the correction.

    Attributes:
        factors: one (size, r) matrix a mode.
        history: the objective after each sweep; it never increases.
    """

    factors: list[Tensor]
    history: tuple[float, ...]


def correct(
    tensor: Tensor,
    factors: list[Tensor],
    bound: float,
    *,
    objective: str = "norms",
    sweeps: int = 200,
    tol: float = 1e-4,
) -> Corrected:
    """Shrink the components of a CP of `tensor` while |T - [[factors]]| stays within `bound` (Frobenius).

    Args:
        tensor: (I, J, K), float64.
        factors: one (size, r) matrix a mode, whose error is within the bound.
        objective: 'norms' (sum of squared component norms: what per-component scales feel) or 'sensitivity' (noise on
            every entry: what one scale a factor feels).
        sweeps, tol: stop when a sweep lowers the objective by less than the share `tol`.
    """
    square = float(torch.linalg.vector_norm(tensor)) ** 2
    measure = sum_of_squared_norms if objective == "norms" else sensitivity
    products, factors, ridges = Products.of(tensor), spread(factors), [0.0, 0.0, 0.0]
    history = [measure(factors)]
    for _ in range(sweeps):
        for mode, product in products.sweep(factors):
            others = [f for n, f in enumerate(factors) if n != mode]
            root = weights_of(others[0], others[1], objective).sqrt()  # what a unit of this factor's column costs
            gram = (others[0].T @ others[0]) * (others[1].T @ others[1]) / root[:, None] / root
            smallest = smallest_within(gram, product / root, square, bound, ridges[mode])
            if smallest and float(smallest[0].square().sum()) < float((factors[mode] * root).square().sum()):
                factors[mode], ridges[mode] = smallest[0] / root, smallest[1]
        factors = spread(factors)
        history.append(measure(factors))
        if history[-2] - history[-1] <= tol * history[-2]:
            break
    return Corrected(factors, tuple(history))
