"""Error-preserving correction: the same error with the smallest components.

CP components of nearly opposite sign can grow without bound and cancel each other; once they are quantized, they no
longer do. Phan, Tichavsky and Cichocki ("Error preserving correction for CPD and bounded-norm CPD", 2017) and Phan et
al. ("Stable low-rank tensor decomposition for compression of convolutional neural network", ECCV 2020) minimise the
components under a bound on the error. Here every factor update is a ridge regression whose ridge is set by
the error that may still be spent: one root of a monotone function.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tdq_core.decompose.cp import Cp

_BISECTIONS = 60


def correct_cp(weight: Tensor, made: Cp, *, eta: float, objective: str = "sensitivity") -> Cp:
    """The CP `made` of `weight` (C_out, C_in, K_h, K_w) with the smallest components at (1 + eta) times its error."""
    kernel = weight.double().flatten(2)
    if not kernel.any():
        return made  # all components are zero already
    bound = (1 + eta) * float(torch.linalg.vector_norm(kernel - made.to_weight().flatten(2)))
    corrected = correct(kernel, [made.out, made.in_, made.spatial], bound, objective=objective)
    out, in_, spatial = corrected.factors
    return replace(made, out=out, in_=in_, spatial=spatial, epc_sweeps=len(corrected.history) - 1)


def degeneracy(made: Cp, weight: Tensor) -> dict[str, float]:
    """How far the components of a CP cancel each other: what predicts trouble under quantization.

    Returns:
        log10_norms: log10 of the sum of squared component norms over |W|^2; 0 where nothing cancels.
        sensitivity: expected squared change over |W|^2, per unit of variance of noise on every entry of the factors.
        largest_component, smallest_component: norms over |W|.
    """
    factors = [made.out, made.in_, made.spatial]
    square = float(weight.double().square().sum())
    norms = _column_squares(factors).prod(dim=0)
    if square == 0 or float(norms.max()) == 0:
        return {"log10_norms": 0.0, "sensitivity": 0.0, "largest_component": 0.0, "smallest_component": 0.0}
    return {
        "log10_norms": math.log10(float(norms.sum()) / square),
        "sensitivity": sensitivity(factors) / square,
        "largest_component": math.sqrt(float(norms.max()) / square),
        "smallest_component": math.sqrt(float(norms.min()) / square),
    }


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
    unfolded = [tensor.movedim(mode, 0).flatten(1) for mode in range(3)]
    measure = sum_of_squared_norms if objective == "norms" else sensitivity
    factors = _spread(factors)
    history = [measure(factors)]
    for _ in range(sweeps):
        for mode in range(3):
            factors = _updated(unfolded[mode], factors, mode, (square, bound, objective))
        history.append(measure(factors))
        if history[-2] - history[-1] <= tol * history[-2]:
            break
    return Corrected(factors, tuple(history))


def _updated(unfolded: Tensor, factors: list[Tensor], mode: int, goal: tuple[float, float, str]) -> list[Tensor]:
    """Replace one factor by the smallest one that keeps the error within the bound, and spread the norms again."""
    square, bound, objective = goal
    one, two = (f for n, f in enumerate(factors) if n != mode)
    weights = _weights(one, two, objective)  # what a unit of this factor's column costs
    ones, twos = one / weights.sqrt(), two
    gram = (ones.T @ ones) * (twos.T @ twos)
    product = unfolded @ (ones[:, None, :] * twos[None, :, :]).flatten(0, 1)
    smallest = _smallest_within(gram, product, square, bound)
    if smallest is None:
        return factors
    return _spread([smallest / weights.sqrt() if n == mode else f for n, f in enumerate(factors)])


def _weights(one: Tensor, two: Tensor, objective: str) -> Tensor:
    a, b = one.square().sum(0), two.square().sum(0)
    tiny = 1e-30 * float((a * b).max().clamp_min(1e-300))
    return (a * b if objective == "norms" else len(one) * b + len(two) * a).clamp_min(tiny)


def _smallest_within(gram: Tensor, product: Tensor, square: float, bound: float) -> Tensor | None:
    """argmin |U|^2 subject to |T|^2 - 2 <U, product> + <U gram, U> <= bound^2; None where the bound leaves no room.

    With gram = Q diag(l) Q^T and g_i the squared norm of (product Q)_i: U = product (gram + I / mu)^-1, where mu solves
    sum_i g_i / l_i / (1 + mu l_i)^2 = bound^2 - (least-squares error), which falls monotonically in mu.
    """
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp_min(float(values[-1]) * 1e-14)
    turned = product @ vectors
    explained = turned.square().sum(0) / values
    slack = bound**2 - (square - float(explained.sum()))
    if slack <= 0:
        return None
    if slack >= float(explained.sum()):
        return torch.zeros_like(product)
    low, high = -math.log(float(values[-1])) - 40, -math.log(float(values[0])) + 40
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        left = float((explained / (1 + math.exp(middle) * values).square()).sum())
        low, high = (middle, high) if left > slack else (low, middle)
    return (turned / (values + math.exp(-high))) @ vectors.T


def _spread(factors: list[Tensor]) -> list[Tensor]:
    """The same components, each with the same root mean square per entry in all three factors.

    That split of a component's norm is the one of least sensitivity.
    """
    means = _column_squares(factors) / torch.tensor([len(f) for f in factors], dtype=factors[0].dtype)[:, None]
    target = means.prod(dim=0) ** (1 / 3)
    return [f * (target / m.clamp_min(1e-300)).sqrt() for f, m in zip(factors, means)]


def _column_squares(factors: list[Tensor]) -> Tensor:
    """(3, r): squared norms of the columns."""
    return torch.stack([f.square().sum(0) for f in factors])
