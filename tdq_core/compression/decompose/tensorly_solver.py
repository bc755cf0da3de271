"""The solver 'tensorly': its `partial_tucker`, `parafac` and SVD in place of ours, as the field's code calls them.

Tucker-2 is `partial_tucker(weight, rank, modes=[0, 1])` with tensorly's defaults (HOSVD, at most 100 sweeps, until the
error moves by less than 1e-4). CP is `parafac` on the kernel with its spatial modes merged, (C_out, C_in, K_h K_w):
the three layers of Lebedev's CP with one depthwise kernel instead of two, which is what ours makes and what is counted;
at the same rank it contains every 4-way CP with K_h and K_w apart. It starts from tensorly's 'random' factors, uniform
in [0, 1), as MUSCO's CP of merged taps does: 'svd' has no more than K_h K_w vectors for the taps, and fills up with
the same random numbers. It may take as many sweeps as ours and stops at the same tolerance.

Everything is float64: float32, which weights come in, blurs the error by which `parafac` decides that a sweep is the
last one, so that it stops early on most layers of ResNet-20.
tensorly is imported when a solver is called, and computes in a thread of its own, where its backend is torch: what the
process has set tensorly to stays as it is.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from tdq_core.compression.decompose.checks import require_finite, require_ranks, shown
from tdq_core.compression.decompose.cp import SWEEPS, TOL, Cp
from tdq_core.compression.decompose.linalg import leading_left
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tensorly_objects import from_tensorly, load_tensorly
from tdq_core.compression.decompose.tucker2 import Tucker2
from tdq_core.errors import NotNow, RunFailed
from tdq_core.system.machine import free_memory

WORK = 1e11
"""Multiplications that `parafac` may take on one layer: about a minute of one core."""
T = TypeVar("T")


class Seeded(Protocol):
    """The one option that a solver of tensorly heeds."""

    @property
    def seed(self) -> int: ...


def decompose_tucker2(weight: Tensor, rank_out: int, rank_in: int, *, sweeps: int = 100, tol: float = 1e-4) -> Tucker2:
    """Tucker-2 of `weight` (C_out, C_in, K_h, K_w) by `tensorly.decomposition.partial_tucker`.

    Where one rank is more than the other can feed (r_out > r_in K_h K_w, or the reverse) tensorly is asked for what can
    be fed, and the basis is completed by orthonormal columns with nothing on them.

    Raises:
        InputError: the weight holds NaN or infinite values, or a rank is not in [1, C_out] or [1, C_in].
        NotNow: the work needs more memory than there is.
        RunFailed: an SVD did not converge.
    """
    c_out, c_in = weight.shape[:2]
    require_ranks("tucker2", weight.shape, (rank_out, rank_in), (c_out, c_in))
    require_finite(weight)
    _require_memory("partial_tucker", weight, 8 * (16 * weight.numel() + 4 * max(c_out, c_in) ** 2))
    ranks = (rank_out, rank_in)
    sweeps = sweeps if bool(weight.any()) else 0  # the errors of a zero kernel are NaN there and never settle
    work = partial(_partial_tucker, weight.detach().double(), ranks, sweeps, tol)
    core, factors, errors = _alone("partial_tucker", weight, work)
    made = from_tensorly((core, factors), weight, errors=errors)
    assert isinstance(made, Tucker2)
    return made if made.core.shape[:2] == ranks else _completed(made, weight, ranks)


def decompose_cp(weight: Tensor, rank: int, *, sweeps: int = SWEEPS, tol: float = TOL, seed: int = 0) -> Cp:
    """CP of `weight` (C_out, C_in, K_h, K_w) by `tensorly.decomposition.parafac` on its merged spatial modes.

    A large layer gets fewer sweeps, see `affordable`. Its `errors` are tensorly's after each sweep, the last one
    computed from the factors; it converged where a sweep moved the error by less than `tol`.

    Raises:
        InputError: the weight holds NaN or infinite values, or the rank is not in [1, the product of the two smaller
            modes]: with more components tensorly's normal equations are singular.
        NotNow: the work needs more memory than there is.
        RunFailed: the normal equations were singular, as they are where the kernel's own rank is below `rank`.
    """
    kernel = weight.detach().double().flatten(2)
    c_out, c_in, taps = kernel.shape
    require_ranks("cp", weight.shape, (rank,), (min(c_out * c_in, c_out * taps, c_in * taps),))
    require_finite(kernel)
    _require_memory("parafac", weight, parafac_memory((c_out, c_in, taps), rank))
    if not kernel.any():
        out, in_, spatial = (kernel.new_zeros(size, rank) for size in kernel.shape)
        return Cp(out, in_, spatial, (weight.shape[2], weight.shape[3]), (0.0,), True)
    most = affordable((c_out, c_in, taps), rank, sweeps)
    made, errors = _alone("parafac", weight, partial(_parafac, kernel, rank, most, tol, seed))
    converged = len(errors) > 1 and abs(errors[-2] - errors[-1]) < tol
    cp = from_tensorly(made, weight, errors=errors[:-1], converged=converged)
    assert isinstance(cp, Cp)
    if not cp.errors[-1] < float("inf"):
        raise RunFailed(_went_wrong("parafac", weight, "made factors that are not finite"))
    return cp


def decompose_svd(weight: Tensor, rank: int) -> Svd:
    """Truncated SVD of `weight` (C_out, C_in, K_h, K_w), unfolded by its output mode, by `tensorly.svd_interface`.

    Raises:
        InputError: the weight holds NaN or infinite values, or the rank is not in [1, min(C_out, C_in K_h K_w)].
        NotNow: the work needs more memory than there is.
        RunFailed: the SVD did not converge.
    """
    matrix = weight.detach().double().flatten(1)
    require_ranks("svd", weight.shape, (rank,), (min(matrix.shape),))
    require_finite(weight)
    _require_memory("svd_interface", weight, 8 * (5 * matrix.numel() + 4 * min(matrix.shape) ** 2))
    made = from_tensorly(_alone("svd_interface", weight, partial(_svd, matrix, rank)), weight)
    assert isinstance(made, Svd)
    return made


METHODS: dict[str, Callable[[Tensor, tuple[int, ...], Seeded], Tucker2 | Cp | Svd]] = {
    "tucker2": lambda weight, ranks, options: decompose_tucker2(weight, *ranks),
    "cp": lambda weight, ranks, options: decompose_cp(weight, *ranks, seed=options.seed),
    "svd": lambda weight, ranks, options: decompose_svd(weight, *ranks),
}
"""From a weight, ranks and options to factors, by method: what `methods.METHODS` is of our own solver."""


def affordable(shape: tuple[int, int, int], rank: int, sweeps: int) -> int:
    """As many of `sweeps` of `parafac` on a kernel (C_out, C_in, taps) as `WORK` allows, at least ten.

    A sweep multiplies the kernel with three Khatri-Rao products, (two modes, r) each, that it writes out first; to
    write an entry takes as long as some ten multiplications.
    """
    o, i, k = shape
    sweep = 3 * o * i * k * rank + 10 * (o * i + o * k + i * k) * rank + 3 * rank**2 * (rank / 3 + o + i + k)
    return min(sweeps, max(10, int(WORK / sweep)))


def parafac_memory(shape: tuple[int, int, int], rank: int) -> int:
    """Bytes that `parafac` of a kernel (C_out, C_in, taps) needs at most: a Khatri-Rao product of two modes, twice."""
    o, i, k = shape
    return 8 * (2 * max(o * i, o * k, i * k) * rank + 4 * o * i * k + 6 * rank**2 + 8 * (o + i + k) * rank)


def _partial_tucker(
    kernel: Tensor, ranks: tuple[int, int], sweeps: int, tol: float
) -> tuple[Tensor, list[Tensor], list[float]]:
    """Core and factors, and the error after the HOSVD and after each sweep."""
    from tensorly.decomposition import partial_tucker

    c_out, c_in, taps = kernel.flatten(2).shape
    there = min(ranks[0], c_in * taps), min(ranks[1], c_out * taps)
    fed = min(ranks[0], ranks[1] * taps), min(ranks[1], ranks[0] * taps)
    start, _ = partial_tucker(kernel, there, modes=[0, 1], n_iter_max=0)
    hosvd = from_tensorly(start, kernel)
    assert isinstance(hosvd, Tucker2)
    (core, factors), swept = partial_tucker(kernel, fed, modes=[0, 1], n_iter_max=sweeps, tol=tol, init=start)
    return core, factors, [hosvd.errors[-1], *map(float, swept)]


def _parafac(kernel: Tensor, rank: int, sweeps: int, tol: float, seed: int) -> tuple[object, list[float]]:
    """A CPTensor, and the error after each sweep."""
    from tensorly.decomposition import parafac

    made, errors = parafac(
        kernel, rank, n_iter_max=sweeps, init="random", tol=tol, random_state=seed, return_errors=True
    )
    return made, [float(error) for error in errors]


def _svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    from tensorly.tenalg import svd_interface

    left, values, right = svd_interface(matrix, n_eigenvecs=rank)
    return left, values[:, None] * right


def _completed(made: Tucker2, weight: Tensor, ranks: tuple[int, int]) -> Tucker2:
    """`made` with as many columns as were asked for."""
    out, in_ = leading_left(made.out, ranks[0]), leading_left(made.in_, ranks[1])
    core = torch.einsum("oihw,op,iq->pqhw", weight.detach().double(), out, in_)
    return Tucker2(core, out, in_, made.errors)


def _alone(what: str, weight: Tensor, work: Callable[[], T]) -> T:
    """The result of `work` in a thread of its own, where tensorly computes with torch and nothing is recorded."""
    tl = load_tensorly()
    done: Future[T] = Future()

    def run() -> None:
        try:
            tl.set_backend("pytorch", local_threadsafe=True)
            tl.tenalg.set_backend("core", local_threadsafe=True)
            with torch.no_grad():
                done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True, name=f"tensorly {what}").start()
    try:
        return done.result()
    except torch.linalg.LinAlgError as error:
        raise RunFailed(_went_wrong(what, weight, f"could not solve a system of equations ({error})")) from error


def _went_wrong(what: str, weight: Tensor, how: str) -> str:
    return f"tensorly's {what} {how} on a kernel of {shown(weight.shape)}: choose a lower rank or the solver 'tdq'."


def _require_memory(what: str, weight: Tensor, needed: int) -> None:
    if needed > (free := free_memory()):
        raise NotNow(
            f"tensorly's {what} of a kernel of {shown(weight.shape)} needs {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: choose a lower rank, another method for this layer or the solver 'tdq'."
        )
