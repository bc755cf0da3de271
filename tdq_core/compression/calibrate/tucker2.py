"""Tucker-2 in the metric of a layer's moments: exact steps for output factor and core, descent for the input factor."""

from functools import partial

import torch
from torch import Tensor

from tdq_core.compression.calibrate.conjugate import by_both_sides, descend
from tdq_core.compression.calibrate.moments import Moments, solve
from tdq_core.compression.calibrate.svd import leading
from tdq_core.compression.decompose.tucker2 import Tucker2

SWEEPS, TOL, STEPS = 12, 1e-4, 10


def fit_tucker2(
    seen: Moments, rank_out: int, rank_in: int, *, sweeps: int = SWEEPS, tol: float = TOL, steps: int = STEPS
) -> Tucker2:
    """Tucker-2 of least E |y - W~ x|^2 by alternating steps; `errors` are relative ones of the outputs.

    Given the input factor, output factor and core are a reduced-rank regression on the compressed channels. Given
    those, the input factor is a least-squares problem with C_in r_in unknowns, on which `steps` conjugate gradients
    descend.
    The error never increases; it ends when a sweep lowers it by less than `tol`.
    """
    in_ = input_basis(seen, rank_in)
    out, core, error = _outer(seen, in_, rank_out)
    errors = [error]
    for _ in range(sweeps):
        in_ = torch.linalg.qr(_inner(seen, out, core, in_, steps)).Q
        out, core, error = _outer(seen, in_, rank_out)
        errors.append(error)
        if errors[-2] - errors[-1] < tol:
            break
    return Tucker2(core.reshape(rank_out, rank_in, *seen.kernel[1:]), out, in_, tuple(errors))


def input_basis(seen: Moments, rank: int) -> Tensor:
    """(C_in, rank), orthonormal: what would be best if all taps saw the same channels, uncorrelated with each other."""
    whitened, back = seen.whitened_by_channel()
    _, left = torch.linalg.eigh(whitened.T @ whitened)
    return torch.linalg.qr(back @ left[:, -rank:].flip(1)).Q


def _outer(seen: Moments, in_: Tensor, rank_out: int) -> tuple[Tensor, Tensor, float]:
    """Output factor, core (r_out, r_in, K) and error of least error given the input factor."""
    rank_in, taps = in_.shape[1], seen.taps
    half = torch.tensordot(in_.T, seen.blocks, dims=1)  # (r_in, K, C_in, K)
    inputs = torch.einsum("qkjl,js->qksl", half, in_).reshape(rank_in * taps, -1)
    cross = (seen.cross.view(-1, seen.channels, taps).transpose(1, 2) @ in_).transpose(1, 2).flatten(1)
    out, inner = leading(solve(inputs, cross), inputs, cross, rank_out)
    error = seen.relative(seen.square - float((out.T @ cross * inner).sum()))
    return out, inner.view(rank_out, rank_in, taps), error


def _inner(seen: Moments, out: Tensor, core: Tensor, in_: Tensor, steps: int) -> Tensor:
    """A better input factor (C_in, r_in) for `out` with orthonormal columns and `core` (r_out, r_in, K)."""
    wanted = (out.T @ seen.cross).view(-1, seen.channels, seen.taps)
    gram = torch.einsum("pqk,kl,psl->qs", core, seen.within, core)
    normal = partial(_normal, seen, core)
    back = torch.einsum("pik,pqk->iq", wanted, core)
    return descend(normal, back, in_, by_both_sides(seen.between, gram), steps=steps)


def _normal(seen: Moments, core: Tensor, in_: Tensor) -> Tensor:
    """The normal equations' matrix times `in_` (C_in, r_in), never written down."""
    inputs = seen.inputs_of_steps
    core, in_ = core.to(inputs.dtype), in_.to(inputs.dtype)
    kernel = torch.einsum("pqk,iq->pik", core, in_).flatten(1)  # (r_out, C_in K)
    return torch.einsum("pik,pqk->iq", (kernel @ inputs).view(-1, seen.channels, seen.taps), core).double()
