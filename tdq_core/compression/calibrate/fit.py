"""From a layer's moments to its factors: the calibrated counterpart of the decompositions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tdq_core.compression.calibrate.cp import PENALTY, fit_cp
from tdq_core.compression.calibrate.moments import Moments
from tdq_core.compression.calibrate.spatial import fit_spatial
from tdq_core.compression.calibrate.svd import fit_svd
from tdq_core.compression.calibrate.tucker2 import fit_tucker2
from tdq_core.compression.decompose.components import degeneracy
from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.factors import Details, Factors, Options, relative
from tdq_core.compression.decompose.groups import grouped, joined
from tdq_core.compression.decompose.spatial import Spatial
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2

SHORT = {"sweeps": 2, "steps": 3}
SHORT_CP = {"sweeps": 4, "steps": 3}
"""For `Options.short_fits`. On wide layers of ResNet-18 their errors are 1 to 3 % above those of whole fits."""
Ranks = tuple[int, ...]
Start = Callable[[], Factors]


class OutputErrors(Details, frozen=True):
    """Relative root mean square error of a layer's outputs, counted as often as the batch norm that follows multiplies
    them: at the end and before the first sweep."""

    output_error: float
    output_error_start: float
    sweeps: int


@dataclass(frozen=True)
class Fitted:
    """Factors of least error in the outputs.

    Attributes:
        errors: relative ones of the outputs, before the first sweep and after each.
        more: what else is told of them.
    """

    factors: Factors
    errors: tuple[float, ...]
    more: tuple[Details, ...] = ()

    @property
    def details(self) -> tuple[Details, ...]:
        """For the record."""
        end, start = self.errors[-1], self.errors[0]
        told = OutputErrors(output_error=end, output_error_start=start, sweeps=len(self.errors) - 1)
        return told, *self.more


def fitted_groups(parts: Sequence[Fitted], kernels: Sequence[Tensor], squares: Sequence[float]) -> Fitted:
    """The fit of a layer from those of its groups, whose outputs have the mean `squares`; a group that has ended stays
    as it is while others go on."""
    if len(parts) == 1:
        return parts[0]
    whole, last = sum(squares), max(len(part.errors) for part in parts)
    shares = [square / whole if whole > 0 else 0.0 for square in squares]
    errors = tuple(relative([part.errors[min(n, len(part.errors) - 1)] for part in parts], shares) for n in range(last))
    more = joined([part.more for part in parts], [float(kernel.double().square().sum()) for kernel in kernels])
    return Fitted(grouped([part.factors for part in parts]), errors, more)


def fit_svd_to(seen: Moments, weight: Tensor, ranks: Ranks, gain: Tensor, options: Options, start: Start) -> Fitted:
    """Factors of `weight` (C_out, C_in, K_h, K_w), of a layer without groups, of least error in the outputs `seen`.

    Args:
        gain: (C_out,), how much an error of each output counts (what the batch norm that follows multiplies it by).
        start: factors of the weights, for methods that begin there.
    """
    seen = seen.weighted(gain)
    made = fit_svd(seen, *ranks)
    error = seen.error(made.to_weight())
    out, turn = torch.linalg.qr(made.out / gain[:, None])
    return Fitted(Svd(out, torch.tensordot(turn, made.inner, dims=1)), (error,))


def fit_tucker2_to(seen: Moments, weight: Tensor, ranks: Ranks, gain: Tensor, options: Options, start: Start) -> Fitted:
    """See `fit_svd_to`."""
    made = fit_tucker2(seen.weighted(gain), *ranks, **(SHORT if options.short_fits else {}))
    out, turn = torch.linalg.qr(made.out / gain[:, None])
    return Fitted(Tucker2(torch.tensordot(turn, made.core, dims=1), out, made.in_, made.errors), made.errors)


def fit_spatial_to(seen: Moments, weight: Tensor, ranks: Ranks, gain: Tensor, options: Options, start: Start) -> Fitted:
    """See `fit_svd_to`."""
    made, errors = fit_spatial(seen.weighted(gain), *ranks, **(SHORT if options.short_fits else {}))
    return Fitted(Spatial(made.down, made.across / gain[:, None, None]), errors)


def fit_cp_to(seen: Moments, weight: Tensor, ranks: Ranks, gain: Tensor, options: Options, start: Start) -> Fitted:
    """See `fit_svd_to`; it begins at the CP of the weights."""
    begun = start()
    assert isinstance(begun, Cp), "of the same method"
    weighted = replace(begun, out=begun.out * gain[:, None])
    penalty, short = PENALTY if options.eta is not None else 0.0, SHORT_CP if options.short_fits else {}
    made = fit_cp(seen.weighted(gain), weighted, penalty=penalty, **short)
    factors = replace(made, out=made.out / gain[:, None])
    return Fitted(factors, made.errors, (degeneracy(factors, weight),))
