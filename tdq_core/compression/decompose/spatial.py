"""A k x k kernel as k x 1 and then 1 x k; its optimum in the weights is a truncated SVD.

Jaderberg, Vedaldi, Zisserman, "Speeding up convolutional neural networks with low rank expansions" (BMVC 2014): its
scheme 2.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.checks import require_finite, require_ranks
from tdq_core.compression.decompose.linalg import leading_left
from tdq_core.compression.decompose.plain_layers import conv, stages


@dataclass(frozen=True)
class Spatial:
    """W[o, i, h, w] ~ sum over r of across[o, r, w] down[r, i, h].

    Attributes:
        down: (r, C_in, K_h).
        across: (C_out, r, K_w); as ((C_out K_w) x r) its columns are orthonormal where it was found by weights.
    """

    down: Tensor
    across: Tensor

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in, K_h, K_w)."""
        return torch.einsum("orw,rih->oihw", self.across, self.down)


def decompose_spatial(weight: Tensor, rank: int) -> Spatial:
    """Split `weight` (C_out, C_in, K_h, K_w) into a K_h x 1 layer with `rank` outputs and a 1 x K_w layer.

    The best of its rank (Eckart, Young 1936) of the weight unfolded to (C_out K_w) x (C_in K_h).

    Raises:
        InputError: the weight holds NaN or infinite values, or the rank is not in [1, min of these two].
    """
    c_out, c_in, down, across = weight.shape
    require_ranks("spatial", weight.shape, (rank,), (min(c_out * across, c_in * down),))
    require_finite(weight)
    matrix = unfolded(weight.double())
    left = leading_left(matrix, rank)
    return of_matrices(left, left.T @ matrix, (c_in, down, across))


def unfolded(weight: Tensor) -> Tensor:
    """(C_out, C_in, K_h, K_w) as ((C_out K_w), (C_in K_h))."""
    return weight.permute(0, 3, 1, 2).flatten(2).flatten(0, 1)


def of_matrices(left: Tensor, right: Tensor, kernel: tuple[int, int, int]) -> Spatial:
    """The factors of `left` ((C_out K_w), r) times `right` (r, (C_in K_h)); `kernel` is (C_in, K_h, K_w)."""
    c_in, down, across = kernel
    rank = len(right)
    return Spatial(right.reshape(rank, c_in, down), left.reshape(-1, across, rank).transpose(1, 2).contiguous())


def spatial_layers(like: nn.Conv2d, factors: Spatial) -> nn.Sequential:
    """Stride, padding and dilation of each direction go to the layer with the kernel of that direction; padding is
    exact in every mode, for the first layer has no bias and mixes no columns."""
    return stages(
        like,
        vertical=conv(factors.down[:, :, :, None], like, **along(like, 0)),
        horizontal=conv(factors.across[:, :, None, :], like, like.bias, **along(like, 1)),
    )


def along(like: nn.Conv2d, axis: int) -> dict[str, Any]:
    """What a sub-layer takes over that has the kernel of one direction: 0 down, 1 across."""

    def own(pair: tuple[int, ...], neutral: int) -> tuple[int, int]:
        return (pair[0], neutral) if axis == 0 else (neutral, pair[1])

    return {
        "stride": own(like.stride, 1),
        "padding": like.padding if isinstance(like.padding, str) else own(like.padding, 0),
        "dilation": own(like.dilation, 1),
        "padding_mode": like.padding_mode,
    }
