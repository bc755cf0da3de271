"""Error-preserving correction: the same error with the smallest components.

CP components of nearly opposite sign can grow without bound and cancel each other; once they are quantized, they no
longer do. Phan, Tichavsky and Cichocki ("Error preserving correction for CPD and bounded-norm CPD", 2017) and Phan et
al. ("Stable low-rank tensor decomposition for compression of convolutional neural network", ECCV 2020) minimise the
components under a bound on the error. Here every factor update is a ridge regression whose ridge is set by the error
that may still be spent. Correction and least squares take turns, as in their bounded-norm CP: least squares gets stuck
where components cancel, and moves on once they are small, so that both error and norms end lower than either alone.

There is no such correction for Tucker-2 and SVD: their outer factors have orthonormal columns, the core is then no
larger than the kernel itself, and no components are left that could cancel.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from tdq_core.compression.decompose.als import Products, affordable, als
from tdq_core.compression.decompose.cp import Compressed, Cp, compress
from tdq_core.compression.decompose.factors import Details
from tdq_core.compression.decompose.ridge import smallest_within

TURN_ETA, TURN_SWEEPS, TURN_TOL = 0.05, 20, 1e-2
POLISH_SWEEPS, POLISH_TOL = 25, 1e-6
ROUND = POLISH_SWEEPS + 2 * TURN_SWEEPS
"""What a round costs at most, in sweeps of least squares."""
MOST_ROUNDS, LAST_SWEEPS = 16, 200
Finish = Callable[[Tensor, list[Tensor], float], list[Tensor]]


def correct_cp(
    weight: Tensor, made: Cp, *, eta: float, objective: str = "sensitivity", finish: Finish | None = None,
    effort: float = 1.0,
) -> Cp:  # fmt: skip
    """A CP of `weight` (C_out, C_in, K_h, K_w) with small components, from `made`.

    First correction and least squares take turns (fewer where a sweep costs more: the number follows from the shape
    alone), and the best fit is kept; the last correction may raise its error to `allowed_error`. What `finish` makes of
    the core, the factors and the bound of their error comes after it. There are `effort` times the usual turns.
    """
    kernel = compress(weight, made.out.shape[1])
    if kernel.norm == 0:
        return made  # all components are zero already
    factors = spread([basis.T @ f for basis, f in zip(kernel.bases, (made.out, made.in_, made.spatial), strict=True)])
    factors = [f / kernel.norm ** (1 / 3) for f in factors]
    errors, done, rounds = list(made.errors), 0, _rounds(kernel.core.shape, made.out.shape[1], effort)
    best, least = factors, errors[-1]
    for _ in range(rounds):
        turned = correct(kernel.core, factors, _bound(kernel, errors[-1], TURN_ETA), objective=objective,
                         sweeps=TURN_SWEEPS, tol=TURN_TOL)  # fmt: skip
        fit = als(kernel.core, turned.factors, lost=kernel.lost, sweeps=POLISH_SWEEPS, tol=POLISH_TOL)
        factors, done = fit.factors, done + len(turned.history) - 1
        errors += fit.errors
        if errors[-1] <= least:
            best, least = factors, errors[-1]
    sweeps = affordable(kernel.core.shape, made.out.shape[1], LAST_SWEEPS)
    bound = _bound(kernel, least, eta)
    last = correct(kernel.core, best, bound, objective=objective, sweeps=sweeps)
    corrected = finish(kernel.core, last.factors, bound) if finish else last.factors
    out, in_, spatial = (
        f * kernel.norm ** (1 / 3) for f in spread([b @ f for b, f in zip(kernel.bases, corrected, strict=True)])
    )
    done += len(last.history) - 1
    return replace(made, out=out, in_=in_, spatial=spatial, errors=tuple(errors), epc_sweeps=done, epc_rounds=rounds)


def allowed_error(error: float, eta: float) -> float:
    """(1 + eta) `error`; from an error of one half on, the share `eta` of what is left to lose.

    At an error of 1 the smallest components are none at all, and nothing of the kernel is kept.
    """
    return error + eta * min(error, 1 - error)


def _bound(kernel: Compressed, error: float, eta: float) -> float:
    """The error that the factors of the core may have, so that the kernel's is `allowed_error`."""
    return math.sqrt(max(allowed_error(error, eta) ** 2 - kernel.lost, 0.0))


def _rounds(shape: tuple[int, ...], rank: int, effort: float) -> int:
    return affordable(shape, rank, max(1, round(effort * MOST_ROUNDS)) * ROUND, effort=effort) // ROUND or 1


class Degeneracy(Details, frozen=True):
    """How far the components of a CP cancel each other: what predicts trouble under quantization.

    Attributes:
        log10_norms: log10 of the sum of squared component norms over |W|^2; 0 where nothing cancels.
        sensitivity: expected squared change over |W|^2, per unit of variance of noise on every entry of the factors.
        largest_component, smallest_component: norms over |W|.
    """

    log10_norms: float = 0.0
    sensitivity: float = 0.0
    largest_component: float = 0.0
    smallest_component: float = 0.0

    @classmethod
    def joined(cls, parts: Sequence[Self], shares: Sequence[float]) -> Self:
        """Of all components of all groups, over the whole kernel's norm."""
        sums = sum(share * 10**part.log10_norms for part, share in zip(parts, shares, strict=True))
        roots = [math.sqrt(share) for share in shares]
        return cls(
            log10_norms=math.log10(sums),
            sensitivity=sum(share * part.sensitivity for part, share in zip(parts, shares, strict=True)),
            largest_component=max(root * part.largest_component for part, root in zip(parts, roots, strict=True)),
            smallest_component=min(root * part.smallest_component for part, root in zip(parts, roots, strict=True)),
        )


def degeneracy(made: Cp, weight: Tensor) -> Degeneracy:
    """Of the components of a CP of `weight` (C_out, C_in, K_h, K_w)."""
    factors = [made.out, made.in_, made.spatial]
    square = float(weight.double().square().sum())
    norms = _column_squares(factors).prod(dim=0)
    if square == 0 or float(norms.max()) == 0:
        return Degeneracy()
    return Degeneracy(
        log10_norms=math.log10(float(norms.sum()) / square),
        sensitivity=sensitivity(factors) / square,
        largest_component=math.sqrt(float(norms.max()) / square),
        smallest_component=math.sqrt(float(norms.min()) / square),
    )


@dataclass(frozen=True)
class Corrected:
    """Factors after the correction.

    Attributes:
        factors: one (size, r) matrix a mode.
        history: the objective after each sweep; it never increases.
    """

    factors: list[Tensor]
    history: tuple[float, ...]


def sum_of_squared_norms(factors: list[Tensor]) -> float:
    """Sum over the components of |a_r|^2 |b_r|^2 |c_r|^2: large against |W|^2 where components cancel each other."""
    return float(_column_squares(factors).prod(dim=0).sum())


def sensitivity(factors: list[Tensor]) -> float:
    """Expected squared change of the tensor, per unit of variance of noise on every entry of every factor."""
    squares = _column_squares(factors)
    return sum(len(f) * float(squares.prod(dim=0).div(squares[n]).nan_to_num().sum()) for n, f in enumerate(factors))


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
            root = _weights(others[0], others[1], objective).sqrt()  # what a unit of this factor's column costs
            gram = (others[0].T @ others[0]) * (others[1].T @ others[1]) / root[:, None] / root
            smallest = smallest_within(gram, product / root, square, bound, ridges[mode])
            if smallest and float(smallest[0].square().sum()) < float((factors[mode] * root).square().sum()):
                factors[mode], ridges[mode] = smallest[0] / root, smallest[1]
        factors = spread(factors)
        history.append(measure(factors))
        if history[-2] - history[-1] <= tol * history[-2]:
            break
    return Corrected(factors, tuple(history))


def _weights(one: Tensor, two: Tensor, objective: str) -> Tensor:
    a, b = one.square().sum(0), two.square().sum(0)
    tiny = 1e-30 * float((a * b).max().clamp_min(1e-300))
    return (a * b if objective == "norms" else len(one) * b + len(two) * a).clamp_min(tiny)


def spread(factors: list[Tensor]) -> list[Tensor]:
    """The same components, each with the same root mean square per entry in all three factors.

    That split of a component's norm is the one of least sensitivity.
    """
    means = _column_squares(factors) / torch.tensor([len(f) for f in factors], dtype=factors[0].dtype)[:, None]
    target = means.prod(dim=0) ** (1 / 3)
    return [f * (target / m.clamp_min(1e-300)).sqrt() for f, m in zip(factors, means, strict=True)]


def _column_squares(factors: list[Tensor]) -> Tensor:
    """(3, r): squared norms of the columns."""
    return torch.stack([f.square().sum(0) for f in factors])
