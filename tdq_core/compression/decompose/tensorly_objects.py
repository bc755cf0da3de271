"""Factors as tensorly's objects and back (Kossaifi, Panagakis, Anandkumar, Pantic, JMLR 2019).

    Tucker2  TuckerTensor: the core (r_out, r_in, K_h, K_w) with [out, in_, identity, identity], since tensorly asks for
             a factor a mode; `multi_mode_dot(core, factors[:2], modes=[0, 1])` is the same kernel
    Cp       CPTensor: weights of 1 with [out, in_, spatial]; `to_tensor()` is (C_out, C_in, K_h K_w), which reshapes to
             the kernel
    Svd      tensorly has no object for two matrices: the pair (out, inner) of (C_out, r) and (r, C_in K_h K_w), whose
             product is `tensorly.unfold(kernel, 0)`

tensorly is imported when one of these is called, not before.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tdq_core.compression.decompose.checks import shown
from tdq_core.compression.decompose.cp import Cp, equal_norms
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2
from tdq_core.errors import InputError

if TYPE_CHECKING:
    from tensorly.cp_tensor import CPTensor
    from tensorly.tucker_tensor import TuckerTensor

ORTHONORMAL = 1e-5
"""Largest entry of U^T U - 1 up to which the columns of U count as orthonormal: what float32 leaves of it."""


def load_tensorly() -> ModuleType:
    """The package tensorly, or an InputError that says how to get it."""
    try:
        import tensorly
    except ImportError as error:
        raise InputError(
            "The package tensorly was asked for and is not installed: `pip install tensorly`, or use the solver 'tdq'."
        ) from error
    return tensorly


def as_tensorly(factors: Tucker2 | Cp | Svd) -> "TuckerTensor | CPTensor | tuple[object, object]":
    """`factors` as tensorly's object, in float64 arrays of the backend that tensorly is set to (numpy if to none).

    `to_tensor()` of the object is `factors.to_weight()`, for a Cp with its spatial modes merged.
    """
    tl = load_tensorly()

    def array(part: Tensor) -> object:
        return tl.tensor(part.detach().double().numpy())

    if isinstance(factors, Tucker2):
        spatial = [torch.eye(size) for size in factors.core.shape[2:]]
        parts = [array(part) for part in (factors.out, factors.in_, *spatial)]
        return tl.tucker_tensor.TuckerTensor((array(factors.core), parts))
    if isinstance(factors, Cp):
        parts = [array(part) for part in (factors.out, factors.in_, factors.spatial)]
        return tl.cp_tensor.CPTensor((None, parts))
    return array(factors.out), array(factors.inner.flatten(1))


def from_tensorly(
    made: object, weight: Tensor, *, errors: Sequence[float] = (), converged: bool = False
) -> Tucker2 | Cp | Svd:
    """The factors that `made` holds of `weight` (C_out, C_in, K_h, K_w), in float64.

    Args:
        made: a TuckerTensor of the kernel, or the pair `partial_tucker(kernel, modes=[0, 1], ...)[0]` (Tucker2); a
            CPTensor of the kernel with its spatial modes merged, or of the kernel itself (Cp); a pair of matrices
            (Svd). Their arrays are torch's, or those of the backend that tensorly is set to.
        errors: |W - W~| / |W| before the last sweep, as far as they are known; the last one is computed here.
        converged: of a Cp: whether its error had stopped falling.

    Raises:
        InputError: `made` is none of these, or not of the shape of `weight`.
    """
    tl, weight = load_tensorly(), weight.detach()

    def tensor(array: object) -> Tensor:
        return torch.as_tensor(array if isinstance(array, Tensor) else tl.to_numpy(array)).detach().cpu().double()

    parts = list(made) if isinstance(made, (tuple, tl.tucker_tensor.TuckerTensor, tl.cp_tensor.CPTensor)) else []
    if len(parts) == 2 and isinstance(made, tl.cp_tensor.CPTensor):
        weights, factors = parts
        return _cp(tensor(weights), [tensor(f) for f in factors], weight, errors, converged)
    if len(parts) == 2 and isinstance(parts[1], (list, tuple)):
        return _tucker2(tensor(parts[0]), [tensor(f) for f in parts[1]], weight, errors)
    if len(parts) == 2:
        return _svd(tensor(parts[0]), tensor(parts[1]), weight)
    raise InputError(
        f"Factors are read from a TuckerTensor, a CPTensor, a pair (core, factors) or a pair of matrices. Got a "
        f"{type(made).__name__}."
    )


def _tucker2(core: Tensor, factors: list[Tensor], weight: Tensor, errors: Sequence[float]) -> Tucker2:
    _require_shape([len(f) for f in factors] + list(core.shape[len(factors) :]), weight)
    for mode, factor in enumerate(factors[2:], start=2):  # spatial modes are multiplied out
        core = torch.tensordot(core, factor, dims=([mode], [1])).movedim(-1, mode)
    out, core = _orthonormal(factors[0], core)
    in_, by_in = _orthonormal(factors[1], core.transpose(0, 1))
    core = by_in.transpose(0, 1).contiguous()
    error = rel_error(weight, Tucker2(core, out, in_, ()).to_weight())
    return Tucker2(core, out, in_, (*errors, error))


def _cp(weights: Tensor, factors: list[Tensor], weight: Tensor, errors: Sequence[float], converged: bool) -> Cp:
    _require_shape([len(f) for f in factors], weight if len(factors) == 4 else weight.flatten(2))
    out, in_, *spatial = factors
    taps = spatial[0]
    for other in spatial[1:]:  # (K_h, r) and (K_w, r) to (K_h K_w, r)
        taps = (taps[:, None, :] * other[None, :, :]).flatten(0, 1)
    out, in_, taps = equal_norms([out * weights, in_, taps])
    kernel = (weight.shape[2], weight.shape[3])
    error = rel_error(weight, Cp(out, in_, taps, kernel, (), converged).to_weight())
    return Cp(out, in_, taps, kernel, (*errors, error), converged)


def _svd(out: Tensor, inner: Tensor, weight: Tensor) -> Svd:
    _require_shape((len(out), inner.shape[1]), weight.flatten(1))
    out, inner = _orthonormal(out, inner)
    return Svd(out, inner.reshape(-1, *weight.shape[1:]))


def _orthonormal(factor: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
    """`factor` (size, r) with orthonormal columns, and its core (r, ...); both as they are where it has them."""
    away = factor.T @ factor - torch.eye(factor.shape[1], dtype=factor.dtype)
    if float(away.abs().max()) <= ORTHONORMAL:
        return factor, core
    basis, rest = torch.linalg.qr(factor)
    return basis, torch.tensordot(rest, core, dims=1)


def _require_shape(shape: Sequence[int], weight: Tensor) -> None:
    if tuple(shape) != tuple(weight.shape):
        raise InputError(
            f"The factors make a tensor of {shown(shape)}, the kernel is {shown(weight.shape)}: give the kernel that "
            f"they were made of."
        )
