"""CP (canonical polyadic) decomposition of a kernel with its spatial modes merged, by alternating least squares.

Harshman (1970), Carroll and Chang (1970); for convolutions Lebedev et al. (ICLR 2015). The kernel is first compressed
to its multilinear ranks (an orthogonal change of basis), so that a sweep costs what the rank needs, not what the
layer is wide; everything is float64, and each least-squares step is regularised just enough to stay solvable.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.decompose.als import Fit, affordable, als
from tdq_core.compression.decompose.checks import require_finite, require_ranks, shown
from tdq_core.compression.decompose.linalg import leading_left, of_components
from tdq_core.errors import NotNow
from tdq_core.system.machine import free_memory

SWEEPS, TOL = 500, 1e-6
TRIED_STARTS, TRIAL_SWEEPS = 3, 10


@dataclass(frozen=True)
class Cp:
    """W[o, i, k] ~ sum over r of out[o, r] in_[i, r] spatial[k, r].

    Attributes:
        out: (C_out, r); in_: (C_in, r); spatial: (K_h K_w, r): every component has equal norms in the three.
        kernel: (K_h, K_w).
        errors: |W - W~| / |W| after each sweep.
        converged: whether the error stopped falling before the sweeps ran out.
        starts: random starts that were tried for a few sweeps; the best one went on.
        epc_sweeps: sweeps of the error-preserving correction that followed; 0 where there was none.
    """

    out: Tensor
    in_: Tensor
    spatial: Tensor
    kernel: tuple[int, int]
    errors: tuple[float, ...]
    converged: bool
    starts: int = 1
    epc_sweeps: int = 0

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        merged = of_components(self.out, self.in_, self.spatial)
        return merged.view(*merged.shape[:2], *self.kernel)


@dataclass(frozen=True)
class Compressed:
    """A kernel in the bases of its leading singular vectors, at norm 1.

    Attributes:
        core: at most (r, r, r); bases: (size, at most r) a mode; norm: of the kernel.
        lost: squared error of the compression, of a kernel of norm 1.
    """

    core: Tensor
    bases: list[Tensor]
    norm: float
    lost: float

    def expand(self, factors: list[Tensor]) -> list[Tensor]:
        """Factors of the core as factors of the kernel, each component with equal norms in the three."""
        return equal_norms([basis @ f for basis, f in zip(self.bases, factors, strict=True)], self.norm)


def decompose_cp(
    weight: Tensor, rank: int, *, sweeps: int = SWEEPS, tol: float = TOL, seed: int = 0, effort: float = 1.0
) -> Cp:
    """CP of `weight` (C_out, C_in, K_h, K_w) at `rank`; stops when the relative error falls by less than `tol`.

    Args:
        effort: so many times the usual random starts are tried, at least one.

    Raises:
        InputError: the weight holds NaN or infinite values, or the rank is below 1.
        NotNow: the work needs more memory than is free.
    """
    kernel = compress(weight, rank)
    starts = starts_tried(kernel, rank, effort) if sweeps > TRIAL_SWEEPS else 1
    best = best_start(kernel, rank, seed, starts, tol=tol)
    fit = als(kernel.core, best.factors, lost=kernel.lost, sweeps=sweeps, tol=tol)
    return made_of(kernel, fit, weight, starts=starts)


def starts_tried(kernel: "Compressed", rank: int, effort: float, *, share: float = 1.0) -> int:
    """How many random starts are tried in this `share` of the work: fewer where a sweep costs more, a number of the
    shape alone."""
    wanted = max(1, round(effort * TRIED_STARTS)) * TRIAL_SWEEPS
    return affordable(tuple(kernel.core.shape), rank, wanted, effort=share * effort) // TRIAL_SWEEPS


def best_start(kernel: "Compressed", rank: int, seed: int, starts: int, *, first: int = 0, tol: float = TOL) -> Fit:
    """The best of so many seeded random starts, from the `first` on, after a few sweeps of least squares."""
    trials = [
        als(kernel.core, random_start(kernel.core, rank, seed, turn), lost=kernel.lost, sweeps=TRIAL_SWEEPS, tol=tol)
        for turn in range(first, first + starts)
    ]
    return min(trials, key=lambda fit: fit.errors[-1])


def made_of(kernel: Compressed, fit: Fit, weight: Tensor, *, starts: int) -> Cp:
    out, in_, spatial = kernel.expand(fit.factors)
    return Cp(out, in_, spatial, (weight.shape[2], weight.shape[3]), fit.errors, fit.converged, starts)


def compress(weight: Tensor, rank: int) -> Compressed:
    """`weight` (C_out, C_in, K_h, K_w) with its spatial modes merged, in at most `rank` dimensions a mode."""
    kernel = weight.double().flatten(2)
    require_ranks("cp", weight.shape, (rank,), (None,))
    require_memory(kernel.shape, rank)
    require_finite(kernel)
    norm = float(torch.linalg.vector_norm(kernel))
    kernel = kernel / norm if norm else kernel
    bases = [leading_left(kernel.movedim(m, 0).flatten(1), min(rank, kernel.shape[m])) for m in range(3)]
    core = torch.einsum("oik,oa,ib,kc->abc", kernel, *bases)
    lost = max((norm > 0) - float(torch.linalg.vector_norm(core)) ** 2, 0.0)
    return Compressed(core, bases, norm, lost)


def cp_memory(shape: tuple[int, ...], rank: int) -> int:
    """Bytes that CP of a kernel (C_out, C_in, taps) needs at most beside the kernel, by arithmetic."""
    o, i, k = shape
    copies = 3 * o * i * k  # float64 kernel, core, one unfolding
    return 8 * (copies + 3 * i * k * rank + 6 * rank**2 + 4 * (o + i + k) * rank)


def require_memory(shape: tuple[int, ...], rank: int) -> None:
    needed, free = cp_memory(shape, rank), free_memory()
    if needed > free:
        raise NotNow(
            f"CP of a kernel of {shown(shape)} at rank {rank} needs {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: choose a lower rank or another method for this layer, or try "
            "again when more is free."
        )


def random_start(core: Tensor, rank: int, seed: int, turn: int) -> list[Tensor]:
    """Seeded normal factors of unit columns."""
    generator = torch.Generator().manual_seed(seed + 7919 * turn)
    random = [torch.randn(size, rank, generator=generator, dtype=core.dtype) for size in core.shape]
    return [f / torch.linalg.vector_norm(f, dim=0) for f in random]


def equal_norms(factors: list[Tensor], norm: float = 1.0) -> list[Tensor]:
    """Give every component the same norm in all three factors, times `norm` in all."""
    norms = torch.stack([torch.linalg.vector_norm(f, dim=0) for f in factors])  # (3, r)
    target = norms.prod(dim=0) ** (1 / 3) * norm ** (1 / 3)
    return [f * torch.where(n > 0, target / n.clamp_min(1e-150), n) for f, n in zip(factors, norms, strict=True)]
