"""Tucker-2: the channel modes of a kernel are compressed, its spatial modes are not.

Tucker (1966); Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
applications" (ICLR 2016). Higher-order orthogonal iteration: De Lathauwer, De Moor, Vandewalle (2000).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.decompose.checks import require_finite, require_ranks
from tdq_core.compression.decompose.linalg import leading_left, leading_left_energy, leading_pair

UNSEEN = 1e-2
"""Relative error below which float32's Gram matrices (precise to 1e-7 of the kernel's square) no longer decide it."""


@dataclass(frozen=True)
class Tucker2:
    """W[o, i] ~ sum over p, q of out[o, p] core[p, q] in_[i, q].

    Attributes:
        core: (r_out, r_in, K_h, K_w).
        out: (C_out, r_out), orthonormal columns.
        in_: (C_in, r_in), orthonormal columns.
        errors: |W - W~| / |W| after the initial HOSVD, after each sweep, and at the end in full precision; it never
            increases (its square to within float32's precision, 1e-6).
    """

    core: Tensor
    out: Tensor
    in_: Tensor
    errors: tuple[float, ...]

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        return torch.einsum("op,pqhw,iq->oihw", self.out, self.core, self.in_)


def decompose_tucker2(weight: Tensor, rank_out: int, rank_in: int, *, sweeps: int = 20, tol: float = 1e-5) -> Tucker2:
    """Tucker-2 of `weight` (C_out, C_in, K_h, K_w) by HOSVD and at most `sweeps` orthogonal iterations.

    A sweep updates both factors, exactly, by symmetric eigenproblems in float32; it stops when the relative error
    falls by less than `tol`. The factors are then made orthonormal and the core computed in float64. A 1x1 kernel is a
    matrix: its truncated SVD is the optimum, and no sweep is made.

    Raises:
        InputError: the weight holds NaN or infinite values, or a rank is not in [1, C_out] or [1, C_in].
    """
    require_ranks("tucker2", weight.shape, (rank_out, rank_in), (weight.shape[0], weight.shape[1]))
    require_finite(weight)
    kernel = weight.double().flatten(2)  # (O, I, K)
    scale = float(kernel.abs().max()) or 1.0  # so that squares neither overflow nor vanish in float32
    views = _views(kernel / scale)
    if kernel.shape[2] == 1:
        out, in_ = leading_pair(kernel[:, :, 0] / scale, rank_out, rank_in)
        errors = [views.error(views.core(out, in_))]
    else:
        out, in_, errors = _iterate(views.to(torch.float32), (rank_out, rank_in), sweeps, tol)
        out, in_ = _finish(views, out.double(), in_.double(), errors[-1])
    core = views.core(out, in_)
    errors.append(views.error(core))
    core = core.transpose(1, 2).reshape(rank_out, rank_in, *weight.shape[2:])
    return Tucker2(core * scale, out, in_, tuple(errors))


@dataclass(frozen=True)
class _Views:
    """One kernel laid out twice, so that contracting either channel mode is one matrix product without a copy."""

    by_in: Tensor  # (O, K, I)
    by_out: Tensor  # (I, K, O)
    square: float  # |W|^2

    def to(self, dtype: torch.dtype) -> "_Views":
        return _Views(self.by_in.to(dtype), self.by_out.to(dtype), self.square)

    def seen_by_out(self, in_: Tensor) -> Tensor:
        """The kernel with its input mode compressed, unfolded by its output mode: (O, K r_in)."""
        return (self.by_in.flatten(0, 1) @ in_).view(len(self.by_in), -1)

    def seen_by_in(self, out: Tensor) -> Tensor:
        """The kernel with its output mode compressed, unfolded by its input mode: (I, K r_out)."""
        return (self.by_out.flatten(0, 1) @ out).view(len(self.by_out), -1)

    def core(self, out: Tensor, in_: Tensor) -> Tensor:
        """(r_out, K, r_in)."""
        return (out.T @ self.seen_by_out(in_)).view(out.shape[1], -1, in_.shape[1])

    def error(self, core: Tensor) -> float:
        """|W - W~| / |W| of orthonormal factors with this core."""
        return _error(self.square, float(torch.linalg.vector_norm(core)) ** 2)


def _views(kernel: Tensor) -> _Views:
    square = float(torch.linalg.vector_norm(kernel)) ** 2
    return _Views(kernel.transpose(1, 2).contiguous(), kernel.permute(1, 2, 0).contiguous(), square)


def _iterate(views: _Views, ranks: tuple[int, int], sweeps: int, tol: float) -> tuple[Tensor, Tensor, list[float]]:
    """HOSVD, then sweeps until the error stops falling."""
    out = leading_left(views.by_in.flatten(1), ranks[0])
    in_ = leading_left(views.by_out.flatten(1), ranks[1])
    errors = [views.error(views.core(out, in_))]
    for _ in range(sweeps):
        out = leading_left(views.seen_by_out(in_), ranks[0])
        in_, energy = leading_left_energy(views.seen_by_in(out), ranks[1])
        errors.append(_error(views.square, energy))
        if errors[-2] - errors[-1] < tol:
            break
    return out, in_, errors


def _finish(views: _Views, out: Tensor, in_: Tensor, error: float) -> tuple[Tensor, Tensor]:
    """Factors that are orthonormal in float64, and exact where float32 could not see what is left of the kernel."""
    if error < UNSEEN:
        seen = views.seen_by_out(in_)
        out = seen @ (seen.T @ out)  # one step of subspace iteration
        seen = views.seen_by_in(torch.linalg.qr(out).Q)
        in_ = seen @ (seen.T @ in_)
    return torch.linalg.qr(out).Q, torch.linalg.qr(in_).Q


def _error(square: float, energy: float) -> float:
    """Orthonormal factors: |W - W~|^2 = |W|^2 - |core|^2, where the core's square is the `energy` captured."""
    return math.sqrt(max(square - energy, 0.0) / square) if square > 0 else 0.0
