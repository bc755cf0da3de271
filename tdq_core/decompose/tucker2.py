"""Tucker-2: the channel modes of a kernel are compressed, its spatial modes are not.

Tucker (1966); Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
applications" (ICLR 2016). Higher-order orthogonal iteration: De Lathauwer, De Moor, Vandewalle (2000).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.decompose.linalg import leading_left, leading_left_energy


@dataclass(frozen=True)
class Tucker2:
    """W[o, i] ~ sum over p, q of out[o, p] core[p, q] in_[i, q].

    Attributes:
        core: (r_out, r_in, K_h, K_w).
        out: (C_out, r_out), orthonormal columns.
        in_: (C_in, r_in), orthonormal columns.
        errors: |W - W~| / |W| after the initial HOSVD and after each sweep; never increases.
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

    A sweep updates both factors; it stops when the relative error falls by less than `tol`.
    """
    kernel = weight.double().flatten(2)  # (O, I, K)
    by_in = kernel.transpose(1, 2).contiguous()  # (O, K, I): contracts the input mode without a copy
    by_out = kernel.permute(1, 2, 0).contiguous()  # (I, K, O): contracts the output mode
    square = float(torch.linalg.vector_norm(kernel)) ** 2
    in_ = leading_left(by_out.flatten(1), rank_in)
    out = leading_left(by_in.flatten(1), rank_out)
    core = torch.tensordot(out.T, by_in @ in_, dims=1)
    errors = [_error(square, float(torch.linalg.vector_norm(core)) ** 2)]
    for _ in range(sweeps):
        out = leading_left((by_in @ in_).flatten(1), rank_out)  # (O, K r_in)
        in_, energy = leading_left_energy((by_out @ out).flatten(1), rank_in)  # (I, K r_out)
        errors.append(_error(square, energy))
        if errors[-2] - errors[-1] < tol:
            break
    core = torch.tensordot(out.T, by_in @ in_, dims=1).transpose(1, 2)  # (r_out, r_in, K)
    return Tucker2(core.reshape(rank_out, rank_in, *weight.shape[2:]), out, in_, tuple(errors))


def _error(square: float, energy: float) -> float:
    """Orthonormal factors: |W - W~|^2 = |W|^2 - |core|^2, and the last update captures |core|^2 = `energy`."""
    return math.sqrt(max(square - energy, 0.0) / square) if square > 0 else 0.0
