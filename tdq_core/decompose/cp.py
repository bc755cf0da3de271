"""CP (canonical polyadic) decomposition of a kernel with its spatial modes merged, by alternating least squares.

Harshman (1970), Carroll and Chang (1970); for convolutions Lebedev et al. (ICLR 2015). The kernel is first compressed
to its multilinear ranks (an orthogonal change of basis), so that a sweep costs what the rank needs, not what the
layer is wide; everything is float64, and each least-squares step is regularised just enough to stay solvable.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.decompose.linalg import leading_left

RIDGE = 1e-10
"""Ridge of a least-squares step, as a share of the mean diagonal of its Gram matrix."""


@dataclass(frozen=True)
class Cp:
    """W[o, i, k] ~ sum over r of out[o, r] in_[i, r] spatial[k, r].

    Attributes:
        out: (C_out, r); in_: (C_in, r); spatial: (K_h K_w, r): every component has equal norms in the three.
        kernel: (K_h, K_w).
        errors: |W - W~| / |W| after each sweep.
        converged: whether the error stopped falling before the sweeps ran out.
        epc_sweeps: sweeps of the error-preserving correction that followed; 0 where there was none.
    """

    out: Tensor
    in_: Tensor
    spatial: Tensor
    kernel: tuple[int, int]
    errors: tuple[float, ...]
    converged: bool
    epc_sweeps: int = 0

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        merged = torch.einsum("or,ir,kr->oik", self.out, self.in_, self.spatial)
        return merged.reshape(*merged.shape[:2], *self.kernel)


def decompose_cp(weight: Tensor, rank: int, *, sweeps: int = 500, tol: float = 1e-6, seed: int = 0) -> Cp:
    """CP of `weight` (C_out, C_in, K_h, K_w) at `rank`; stops when the relative error falls by less than `tol`."""
    kernel = weight.double().flatten(2)  # (O, I, K)
    bases = [leading_left(_unfold(kernel, mode), min(rank, kernel.shape[mode])) for mode in range(3)]
    core = torch.einsum("oik,oa,ib,kc->abc", kernel, *bases)
    lost = max(float(torch.linalg.vector_norm(kernel)) ** 2 - float(torch.linalg.vector_norm(core)) ** 2, 0.0)
    factors, errors, converged = _als(core, rank, lost, _start(core, rank, seed), sweeps, tol)
    out, in_, spatial = _equal_norms([basis @ factor for basis, factor in zip(bases, factors)])
    return Cp(out, in_, spatial, (weight.shape[2], weight.shape[3]), tuple(errors), converged)


def _unfold(tensor: Tensor, mode: int) -> Tensor:
    return tensor.movedim(mode, 0).flatten(1)


def _start(core: Tensor, rank: int, seed: int) -> list[Tensor]:
    """Seeded normal factors of unit columns."""
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randn(size, rank, generator=generator, dtype=core.dtype) for size in core.shape]
    return [f / torch.linalg.vector_norm(f, dim=0) for f in random]


def _als(
    core: Tensor, rank: int, lost: float, factors: list[Tensor], sweeps: int, tol: float
) -> tuple[list[Tensor], list[float], bool]:
    """Alternating least squares on the compressed kernel; `lost` is the squared error of the compression."""
    square = float(torch.linalg.vector_norm(core)) ** 2
    if square == 0:
        return [torch.zeros_like(f) for f in factors], [0.0], True
    unfolded = [_unfold(core, mode) for mode in range(3)]
    grams = [f.T @ f for f in factors]
    errors: list[float] = []
    for _ in range(sweeps):
        for mode in range(3):
            one, two = (m for m in range(3) if m != mode)
            product = unfolded[mode] @ _khatri_rao(factors[one], factors[two])
            gram = grams[one] * grams[two]
            factors[mode] = _ridge_solve(gram, product)
            if mode < 2:
                factors[mode] = factors[mode] / torch.linalg.vector_norm(factors[mode], dim=0).clamp_min(1e-150)
            grams[mode] = factors[mode].T @ factors[mode]
        missed = square - 2 * float((factors[2] * product).sum()) + float((gram * grams[2]).sum())
        errors.append(math.sqrt(max(missed + lost, 0.0) / (square + lost)))
        if len(errors) > 1 and abs(errors[-2] - errors[-1]) < tol:
            return factors, errors, True
    return factors, errors, False


def _khatri_rao(one: Tensor, two: Tensor) -> Tensor:
    return (one[:, None, :] * two[None, :, :]).flatten(0, 1)


def _ridge_solve(gram: Tensor, product: Tensor) -> Tensor:
    """`product` @ inverse of `gram`, with a ridge that is raised until the Cholesky factor exists."""
    size = len(gram)
    scale = float(gram.diagonal().mean())
    ridge = RIDGE
    while True:
        damped = gram + ridge * scale * torch.eye(size, dtype=gram.dtype)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return torch.cholesky_solve(product.T, lower).T
        ridge *= 100


def _equal_norms(factors: list[Tensor]) -> list[Tensor]:
    """Give every component the same norm in all three factors; the product does not change."""
    norms = torch.stack([torch.linalg.vector_norm(f, dim=0) for f in factors])  # (3, r)
    target = norms.prod(dim=0) ** (1 / 3)
    return [f * torch.where(n > 0, target / n.clamp_min(1e-150), n) for f, n in zip(factors, norms)]
