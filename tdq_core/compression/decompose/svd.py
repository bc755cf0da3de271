"""Truncated SVD of a weight: the best rank-r approximation (Eckart, Young 1936)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.decompose.checks import require_finite, require_ranks
from tdq_core.compression.decompose.linalg import leading_left


@dataclass(frozen=True)
class Svd:
    """W ~ out @ inner over the output mode.

    Attributes:
        out: (C_out, r), orthonormal columns.
        inner: (r, C_in, K_h, K_w).
    """

    out: Tensor
    inner: Tensor

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        return torch.tensordot(self.out, self.inner, dims=1)


def decompose_svd(weight: Tensor, rank: int) -> Svd:
    """Split `weight` (C_out, C_in, K_h, K_w) into a K_h x K_w layer with `rank` outputs and a 1x1 layer.

    On a k x k kernel this is the channel decomposition of Zhang et al. (TPAMI 2016) without their data term.

    Raises:
        InputError: the weight holds NaN or infinite values, or the rank is not in [1, C_out].
    """
    require_ranks("svd", weight.shape, (rank,), (weight.shape[0],))
    require_finite(weight)
    matrix = weight.double().flatten(1)  # (C_out, C_in K_h K_w)
    out = leading_left(matrix, rank)
    inner = out.T @ matrix
    return Svd(out, inner.reshape(rank, *weight.shape[1:]))
