"""Whether one module computes what another computes: both are asked, on what the other really gets and on more."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.graph.arguments import Arguments
from tdq_core.graph.observe import tensors

TOLERANCE = 1e-5
"""Of the largest value of an output: float32 sums in another order stay near 1e-6."""
WHOLE = 1e-4
"""The same for a network, in which such differences add up."""


class StaysOdd(Exception):
    """Why a module is left as it is; the text goes on from 'it ...'."""


def answer(module: nn.Module, call: Arguments) -> Any:
    """What `module` answers to a copy of these arguments; what it draws is drawn from the same seed each time."""
    args, kwargs = copy.deepcopy(call)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return module(*args, **kwargs)


def same(expected: Any, got: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether all tensors of two answers are equal but for rounding; NaN and infinities stand where they stood."""
    ours, theirs = list(tensors(got)), list(tensors(expected))
    return len(ours) == len(theirs) and all(_equal(*pair, tolerance) for pair in zip(theirs, ours, strict=True))


def _equal(expected: Tensor, got: Tensor, tolerance: float) -> bool:
    if expected.shape != got.shape or expected.dtype != got.dtype or not expected.numel():
        return expected.shape == got.shape and expected.dtype == got.dtype
    if torch.equal(expected, got) or not expected.is_floating_point():
        return torch.equal(expected, got)
    largest = float(expected.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(got, expected, rtol=0, atol=tolerance * largest, equal_nan=True)


def computes_the_same(old: nn.Module, new: nn.Module, calls: Iterable[Arguments]) -> bool:
    """Whether `new` answers as `old` to all `calls` that `old` accepts, of which there must be one, and `old` does so
    when it is asked again."""
    last = None
    for call in calls:
        try:
            expected = answer(old, call)
        except Exception:  # not a call of this module: its own code says so
            continue
        last = call, expected
        try:
            if not same(expected, answer(new, call)):
                return False
        except Exception:  # what stops the one and not the other makes them different
            return False
    return last is not None and same(last[1], answer(old, last[0]))


def fresh(*shape: int, like: Tensor | None = None) -> Tensor:
    """Normal values, as spread as those of `like`; the same ones for the same shape."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    spread = float(like.float().nan_to_num(0, 0, 0).abs().max()) if like is not None and like.numel() else 1.0
    return drawn * (spread or 1.0)
