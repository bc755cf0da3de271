"""Alternating least squares for CP on a 3-way tensor: two large products a sweep, Cholesky solves, float64."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.decompose.ridge import least_squares

WORK = 4e11
"""Multiplications that one stage of one layer may take: some ten seconds of one core."""


@dataclass(frozen=True)
class Products:
    """The products of a tensor (I, J, K) with two of three factors, (size, r) each.

    Modes 1 and 2 share the product with the first factor, so that a sweep multiplies the whole tensor twice, and the
    largest array beside it is (J K, r). They are float64, also where they are multiplied in float32.
    """

    unfolded: Tensor
    size_j: int

    @classmethod
    def of(cls, tensor: Tensor, *, single: bool = False) -> "Products":
        unfolded = tensor.flatten(1)
        return cls(unfolded.float() if single else unfolded, tensor.shape[1])

    def sweep(self, factors: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """(mode, product with the other two factors), in order; a factor that is replaced meanwhile counts at once."""
        dtype = self.unfolded.dtype
        two, three = factors[1].to(dtype), factors[2].to(dtype)
        yield 0, (self.unfolded @ (two[:, None, :] * three[None, :, :]).flatten(0, 1)).double()
        through = (self.unfolded.T @ factors[0].to(dtype)).unflatten(0, (self.size_j, -1))  # (J, K, r)
        yield 1, (through * three[None]).sum(1).double()
        yield 2, (through * factors[1].to(dtype)[:, None]).sum(0).double()


@dataclass(frozen=True)
class Fit:
    """Factors, the error |T - [[factors]]| / |T| after each sweep, and whether it had stopped falling."""

    factors: list[Tensor]
    errors: tuple[float, ...]
    converged: bool


def als(tensor: Tensor, start: list[Tensor], *, lost: float = 0.0, sweeps: int, tol: float) -> Fit:
    """Alternating least squares from `start`; ends when a sweep lowers the relative error by less than `tol`.

    Args:
        tensor: (I, J, K), float64.
        start: one (size, r) matrix a mode.
        lost: squared error that is there whatever the factors are (of a compression before); it counts in the errors.
    """
    factors = list(start)
    square = float(torch.linalg.vector_norm(tensor)) ** 2
    if square == 0:
        return Fit([torch.zeros_like(f) for f in factors], (0.0,), True)
    products, grams = Products.of(tensor), [f.T @ f for f in factors]
    errors: list[float] = []
    for _ in range(sweeps):
        for mode, product in products.sweep(factors):
            gram = grams[(mode + 1) % 3] * grams[(mode + 2) % 3]
            factors[mode] = least_squares(gram, product)
            if mode < 2:
                factors[mode] = factors[mode] / torch.linalg.vector_norm(factors[mode], dim=0).clamp_min(1e-150)
            grams[mode] = factors[mode].T @ factors[mode]
        missed = square - 2 * float((factors[2] * product).sum()) + float((gram * grams[2]).sum())
        errors.append(math.sqrt(max(missed + lost, 0.0) / (square + lost)))
        if len(errors) > 1 and abs(errors[-2] - errors[-1]) < tol:
            return Fit(factors, tuple(errors), True)
    return Fit(factors, tuple(errors), False)


def affordable(shape: tuple[int, ...], rank: int, sweeps: int, *, effort: float = 1.0) -> int:
    """As many of `sweeps` on a tensor of `shape` as `effort` times `WORK` allows, at least ten: a number of the shape
    alone."""
    sweep = 2 * math.prod(shape) * rank + 3 * rank**2 * (rank / 3 + sum(shape))
    return min(sweeps, max(10, int(effort * WORK / sweep)))
