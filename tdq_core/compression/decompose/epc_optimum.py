"""The error-preserving correction solved to its optimum: an augmented Lagrangian, minimised by L-BFGS.

Block updates under one hard bound, as in `epc`, stall far from the optimum: the bound couples the factors. Here all
three move together, min sensitivity subject to |T - [[A, B, C]]| <= bound, on the core of the compressed kernel
(Nocedal, Wright: "Numerical Optimization", algorithm 17.4; Liu, Nocedal: "On the limited memory BFGS method", 1989).
"""

import torch
from torch import Tensor

from tdq_core.compression.decompose.components import sensitivity, spread
from tdq_core.compression.decompose.ridge import smallest_within

OUTER, INNER, HISTORY = 8, 60, 20
"""Updates of the multiplier, steps of L-BFGS in each, and pairs that these remember."""
WITHIN = 1 - 1e-4
"""What is aimed at, as a share of the squared bound: the last steps still violate it a little."""
WEIGHT, GROWTH, MOST = 10.0, 3.0, 1e4
"""Of the violation, relative to the sensitivity of the start; it grows where a round has not brought it down."""


def optimum(tensor: Tensor, factors: list[Tensor], bound: float) -> list[Tensor]:
    """Factors of `tensor` (I, J, K), float64, of less sensitivity than the given ones and within the error `bound`.

    What is given is within the bound, and is given back where nothing better is found.
    """
    best, least = factors, sensitivity(factors)
    aim, square = WITHIN * bound**2, float(tensor.square().sum())
    if least <= 0 or aim <= 0:
        return factors
    now = [f.clone().requires_grad_() for f in spread(factors)]
    multiplier, weight, before = 0.0, WEIGHT, float("inf")
    for _ in range(OUTER):
        _minimise(tensor, square, now, aim, least, multiplier, weight)
        found = [f.detach() for f in now]
        violation = float(_missed(tensor, square, found)) / aim - 1
        kept = _kept(tensor, square, found, bound)
        if kept and sensitivity(kept) < sensitivity(best):
            best = kept
        multiplier = max(0.0, multiplier + weight * violation)
        if abs(violation) > before / 2:
            weight = min(GROWTH * weight, MOST)
        before = abs(violation)
    return best


def _kept(tensor: Tensor, square: float, factors: list[Tensor], bound: float) -> list[Tensor] | None:
    """The factors within the bound: where they miss it, the first one is the smallest that meets it with the others;
    None where there is none."""
    if float(_missed(tensor, square, factors)) > bound**2:
        _, two, three = factors
        product = torch.einsum("ijk,jr,kr->ir", tensor, two, three)
        smallest = smallest_within((two.T @ two) * (three.T @ three), product, square, bound)
        if smallest is None:
            return None
        factors = [smallest[0], two, three]
    return spread(factors)


def _minimise(
    tensor: Tensor, square: float, factors: list[Tensor], aim: float, unit: float, multiplier: float, weight: float
) -> None:
    """Steps of L-BFGS on the augmented Lagrangian, in place."""
    solver = torch.optim.LBFGS(factors, max_iter=INNER, history_size=HISTORY, tolerance_change=1e-12,
                               line_search_fn="strong_wolfe")  # fmt: skip

    def lagrangian() -> Tensor:
        solver.zero_grad()
        violation = _missed(tensor, square, factors) / aim - 1
        value = _sensitivity(factors) / unit + (multiplier + weight * violation).clamp_min(0).square() / (2 * weight)
        value.backward()
        return value

    solver.step(lagrangian)


def _missed(tensor: Tensor, square: float, factors: list[Tensor]) -> Tensor:
    """|T - [[A, B, C]]|^2, without the tensor that the factors make."""
    one, two, three = factors
    grams = (one.T @ one) * (two.T @ two) * (three.T @ three)
    along = torch.einsum("ijk,kr->ijr", tensor, three)
    return square + grams.sum() - 2 * ((along * two).sum(1) * one).sum()


def _sensitivity(factors: list[Tensor]) -> Tensor:
    """`epc.sensitivity`, with a gradient."""
    one, two, three = (f.square().sum(0) for f in factors)
    sizes = [len(f) for f in factors]
    return (sizes[0] * two * three + sizes[1] * one * three + sizes[2] * one * two).sum()
