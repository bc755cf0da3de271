"""Rounding noise at the output of a decomposed layer, predicted from its weights and the spans inside it.

Rounding to a step d adds noise of variance d^2 / 12. Of weights it multiplies what flows in, of activations it is
added to what flows through; both then reach the layer's output through the stages that follow. All are independent.
"""

import torch
from torch import Tensor

from tdq_core.compression.condition.chain import Chain
from tdq_core.compression.condition.observe import Observed
from tdq_core.compression.quantize.scheme import Scheme


def predicted_noise(chain: Chain, observed: Observed, scales: tuple[Tensor, ...], scheme: Scheme) -> Tensor:
    """Variance at the output (summed over its channels) with the inner channels multiplied by `scales`.

    `chain` and `observed` are those of the layer without scales; the result is differentiable in `scales`.
    """
    scaled = chain.scaled(scales)
    gains = [g / s.square() for g, s in zip(chain.energy_gains, scales, strict=True)]
    squares = [
        observed.before.mean_square,
        *(a.mean_square * s.square() for a, s in zip(observed.inner, scales, strict=True)),
    ]
    weights = _weight_noise(scaled, squares, [*gains, chain.gain.square()], scheme)
    return (weights + _activation_noise(observed, scales, gains, scheme)) / 12


def _weight_noise(chain: Chain, squares: list[Tensor], gains: list[Tensor], scheme: Scheme) -> Tensor:
    """12 x the variance that rounded weights make at the output."""
    total = torch.zeros((), dtype=torch.float64)
    last = len(chain.stages) - 1
    for j, (stage, square, gain) in enumerate(zip(chain.stages, squares, gains, strict=True)):
        largest = stage.abs().amax((1, 2))
        if scheme.granularity == "tensor":  # the batch norm is folded into the last stage before it is rounded
            folded = chain.gain.abs() if j == last else torch.ones_like(largest)
            largest = (largest * folded).amax() / folded.clamp_min(1e-30)
        total = total + ((largest / scheme.weight_limit).square() * chain.into(j, square) * gain).sum()
    return total


def _activation_noise(observed: Observed, scales: tuple[Tensor, ...], gains: list[Tensor], scheme: Scheme) -> Tensor:
    """12 x the variance that rounded inner activations make at the output."""
    total = torch.zeros((), dtype=torch.float64)
    if scheme.activation_levels is None:
        return total
    for span, scale, gain in zip(observed.inner, scales, gains, strict=True):
        ends = torch.stack([span.low * scale, span.high * scale])
        step = (ends.amax() - ends.amin()) / scheme.activation_levels
        total = total + step.square() * gain.sum()
    return total
