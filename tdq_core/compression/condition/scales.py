"""Scales of inner channels that make the predicted rounding noise of a decomposed layer small."""

import itertools

import torch
from torch import Tensor

from tdq_core.compression.condition.chain import Chain
from tdq_core.compression.condition.noise import predicted_noise
from tdq_core.compression.condition.observe import Observed, Span
from tdq_core.compression.quantize.scheme import Scheme

BLENDS = tuple(share / 6 for share in range(7))


def choose_scales(chain: Chain, observed: Observed, scheme: Scheme) -> tuple[Tensor, ...]:
    """One factor for every inner channel, (channels,) each, never zero; negative where that turns a channel round.

    Equal activation ranges are best for the rounding of activations, equal columns in the next stage for that of its
    weights: for every inner activation a geometric blend of the two is chosen, all combinations being tried. The
    predicted noise is never above that of no scales at all.
    """
    ways = [_blends(span, chain.largest_by_input(j)) for j, span in enumerate(observed.inner, start=1)]
    ones = tuple(torch.ones_like(span.low) for span in observed.inner)
    tried = [ones, *itertools.product(*ways)]
    noises = [float(predicted_noise(chain, observed, scales, scheme)) for scales in tried]
    return tried[min(range(len(tried)), key=noises.__getitem__)]


def _blends(span: Span, columns: Tensor) -> list[Tensor]:
    """From equal columns of the stage that follows, whose largest weights are `columns`, to equal activation ranges,
    the longer ends turned upwards."""
    columns = _positive(columns)
    reach = _positive(torch.maximum(span.high, -span.low))
    turn = torch.where(span.high >= -span.low, 1.0, -1.0).double()
    return [turn * columns ** (1 - share) / reach**share for share in BLENDS]


def _positive(sizes: Tensor) -> Tensor:
    """Sizes over their median, dead channels as the median: no scale is zero or without bound."""
    alive = sizes[sizes > 0]
    middle = alive.median() if len(alive) else torch.ones((), dtype=sizes.dtype)
    return torch.where(sizes > 0, sizes / middle, 1.0).clamp(1e-6, 1e6)
