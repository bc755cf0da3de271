"""From a layer's moments to its factors: the calibrated counterpart of `decompose.methods`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tdq_core.compression.calibrate.cp import PENALTY, fit_cp
from tdq_core.compression.calibrate.moments import Moments
from tdq_core.compression.calibrate.svd import fit_svd
from tdq_core.compression.calibrate.tucker2 import fit_tucker2
from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.epc import degeneracy
from tdq_core.compression.decompose.memo import factors_of
from tdq_core.compression.decompose.methods import Factors, Options
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2


def fit(
    seen: Moments, weight: Tensor, method: str, ranks: tuple[int, ...], *, gain: Tensor, options: Options
) -> tuple[Factors, dict[str, Any]]:
    """Factors of `weight` (C_out, C_in, K_h, K_w) of least error in the outputs, and what is told of them.

    Args:
        gain: (C_out,), how much an error of each output counts (what the batch norm that follows multiplies it by).

    Returns:
        The factors, and for the record `output_error` and `output_error_start` (relative root mean square error of the
        outputs so weighted, at the end and before the first sweep), `sweeps`, and of a CP its degeneracy.
    """
    factors, errors = _FITS[method](seen.weighted(gain), weight, ranks, gain, options)
    told = {"output_error": errors[-1], "output_error_start": errors[0], "sweeps": len(errors) - 1}
    if isinstance(factors, Cp):
        told |= degeneracy(factors, weight)
    return factors, told


Fit = Callable[[Moments, Tensor, tuple[int, ...], Tensor, Options], tuple[Factors, tuple[float, ...]]]


def _svd(seen: Moments, weight: Tensor, ranks: tuple[int, ...], gain: Tensor, options: Options) -> Any:
    made = fit_svd(seen, *ranks)
    error = seen.error(made.to_weight())
    out, turn = torch.linalg.qr(made.out / gain[:, None])
    return Svd(out, torch.tensordot(turn, made.inner, dims=1)), (error,)


def _tucker2(seen: Moments, weight: Tensor, ranks: tuple[int, ...], gain: Tensor, options: Options) -> Any:
    made = fit_tucker2(seen, *ranks)
    out, turn = torch.linalg.qr(made.out / gain[:, None])
    return Tucker2(torch.tensordot(turn, made.core, dims=1), out, made.in_, made.errors), made.errors


def _cp(seen: Moments, weight: Tensor, ranks: tuple[int, ...], gain: Tensor, options: Options) -> Any:
    start = factors_of(weight, "cp", ranks, options)
    assert isinstance(start, Cp)
    weighted = replace(start, out=start.out * gain[:, None])
    made = fit_cp(seen, weighted, penalty=PENALTY if options.eta is not None else 0.0)
    return replace(made, out=made.out / gain[:, None]), made.errors


_FITS: dict[str, Fit] = {"svd": _svd, "tucker2": _tucker2, "cp": _cp}
