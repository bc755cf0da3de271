"""k x 1 and 1 x k in the metric of a layer's moments: exact where columns of a patch do not correlate, then descent."""

from functools import partial

import torch
from torch import Tensor

from tdq_core.compression.calibrate.conjugate import Apply, by_both_sides, descend
from tdq_core.compression.calibrate.moments import Moments, solve
from tdq_core.compression.decompose.linalg import leading_left
from tdq_core.compression.decompose.spatial import Spatial, of_matrices, unfolded

SWEEPS, TOL, STEPS = 12, 1e-4, 10


def fit_spatial(
    seen: Moments, rank: int, *, sweeps: int = SWEEPS, tol: float = TOL, steps: int = STEPS
) -> tuple[Spatial, tuple[float, ...]]:
    """The two factors of least E |y - W~ x|^2; and the relative errors of the outputs, at the start and by sweep.

    It begins at the truncated SVD of the best weight on whitened columns of a patch (the optimum where columns do not
    correlate with each other; of a kernel one tap wide it is the optimum always). Given the first factor the second is
    a least-squares problem that is solved exactly; given that, `steps` conjugate gradients descend on the first. The
    error never increases; it ends when a sweep lowers it by less than `tol`.
    """
    down = _start(seen, rank)
    across, error = _across(seen, down)
    errors = [error]
    for _ in range(sweeps if seen.kernel[2] > 1 else 0):
        down = _down(seen, across, down, steps)
        across, error = _across(seen, down)
        errors.append(error)
        if errors[-2] - errors[-1] < tol:
            break
    left = across.permute(0, 2, 1).flatten(0, 1)  # ((C_out K_w), r)
    basis, turn = torch.linalg.qr(left) if len(left) >= rank else (left, torch.eye(rank, dtype=left.dtype))
    return of_matrices(basis, turn @ down, seen.kernel), tuple(errors)


def _columns(seen: Moments, inputs: Tensor) -> Tensor:
    """`inputs` as (n, K_w, n, K_w) with n = C_in K_h: a patch as its columns."""
    c_in, down, across = seen.kernel
    return inputs.view(c_in * down, across, c_in * down, across)


def _start(seen: Moments, rank: int) -> Tensor:
    """The first factor (r, n)."""
    root, back = seen.column_roots
    whitened = unfolded(seen.best.view(-1, *seen.kernel)) @ root
    return leading_left(whitened.T, rank).T @ back.T


def _across(seen: Moments, down: Tensor) -> tuple[Tensor, float]:
    """The second factor (C_out, r, K_w) of least error given the first (r, n), and that error."""
    rank, across = len(down), seen.kernel[2]
    half = torch.tensordot(down, _columns(seen, seen.inputs), dims=1)  # (r, K_w, n, K_w)
    inputs = torch.einsum("rwnv,sn->rwsv", half, down).reshape(rank * across, -1)
    cross = torch.einsum("onw,rn->orw", _cross(seen), down).flatten(1)
    found = solve(inputs, cross)
    error = seen.relative(seen.square - float((found * cross).sum()))
    return found.view(-1, rank, across), error


def _down(seen: Moments, across: Tensor, down: Tensor, steps: int) -> Tensor:
    """A better first factor (r, n) for the second."""
    gram = torch.einsum("orw,osw->rs", across, across)
    wanted = torch.einsum("orw,onw->rn", across, _cross(seen))
    normal = _by_ranks(seen, across) if across.shape[1] < len(across) else partial(_by_outputs, seen, across)
    return descend(normal, wanted, down, by_both_sides(gram, seen.column), steps=steps)


def _by_outputs(seen: Moments, across: Tensor, down: Tensor) -> Tensor:
    """The normal equations' matrix times `down` (r, n), never written down."""
    inputs = seen.inputs_of_steps
    across, down = across.to(inputs.dtype), down.to(inputs.dtype)
    kernel = torch.einsum("orw,rn->onw", across, down).flatten(1)
    onto = (kernel @ inputs).view(len(across), -1, seen.kernel[2])
    return torch.einsum("orw,onw->rn", across, onto).double()


def _by_ranks(seen: Moments, across: Tensor) -> Apply:
    """`_by_outputs`, the shorter way where ranks are fewer than outputs."""
    inputs, (_, rank, width) = _columns(seen, seen.inputs_of_steps), across.shape
    flat = across.flatten(1)
    gram = (flat.T @ flat).to(inputs.dtype).view(rank, width, rank, width)

    def normal(down: Tensor) -> Tensor:
        onto = torch.tensordot(down.to(inputs.dtype), inputs, dims=1)  # (r, K_w, n, K_w)
        return torch.tensordot(gram, onto, dims=([1, 2, 3], [3, 0, 1])).double()

    return normal


def _cross(seen: Moments) -> Tensor:
    """`cross` as (C_out, n, K_w)."""
    return seen.cross.view(len(seen.cross), -1, seen.kernel[2])
