"""Rounding to a grid: where values end up, how far they move, and that the search for ranges never makes it worse."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tdq_core.compression.quantize.activation_grid import SHARES, ActivationGrid, Histogram, Range
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import RoundedWeight, round_weight

SCHEMES = [
    Scheme(bits, None, *how) for bits, *how in itertools.product((8, 6, 4), ("channel", "tensor"), ("minmax", "mse"))
]


def drawn_weight(seed: int, shape: tuple[int, ...] = (6, 5, 3, 3)) -> Tensor:
    """Channels of very different sizes, with an outlier, one channel of zeros."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator) * torch.logspace(-4, 1, shape[0]).reshape(-1, 1, 1, 1)
    weight[0] = 0
    weight[-1, 0, 0, 0] *= 8
    return weight


def squared_error(weight: Tensor, scheme: Scheme) -> float:
    return float((round_weight(weight, scheme).to_weight() - weight).double().square().sum())


def spread(rounded: RoundedWeight) -> Tensor:
    return rounded.scale.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_weights_lie_on_the_grid_at_its_nearest_point(scheme, seed):
    weight = drawn_weight(seed)
    rounded = round_weight(weight, scheme)
    assert rounded.integers.dtype == torch.int8 and rounded.integers.abs().max() <= scheme.weight_limit
    assert rounded.scale.shape == ((6,) if scheme.granularity == "channel" else (1,)) and (rounded.scale > 0).all()
    torch.testing.assert_close(rounded.to_weight(), rounded.integers * spread(rounded), rtol=0, atol=0)
    inside = weight.abs() <= scheme.weight_limit * spread(rounded)
    off = (rounded.to_weight() - weight).abs() / spread(rounded)
    assert off[inside].max() <= 0.5 + 1e-4
    assert torch.equal(rounded.integers.abs()[~inside], torch.full_like(rounded.integers[~inside], scheme.weight_limit))


@pytest.mark.parametrize("bits", (8, 6, 4))
@pytest.mark.parametrize("granularity", ("channel", "tensor"))
def test_min_max_uses_the_whole_grid_and_clips_nothing(bits, granularity):
    weight, scheme = drawn_weight(3), Scheme(bits, None, granularity)
    rounded = round_weight(weight, scheme)
    largest = weight.abs().flatten(1).amax(1) if granularity == "channel" else weight.abs().max().reshape(1)
    torch.testing.assert_close(rounded.scale[-1], largest[-1] / (2 ** (bits - 1) - 1), rtol=2**-10, atol=0)
    assert (largest <= scheme.weight_limit * rounded.scale * (1 + 1e-6)).all()


@pytest.mark.parametrize("bits", (8, 6, 4, 2))
@pytest.mark.parametrize("granularity", ("channel", "tensor"))
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_the_search_is_never_worse_than_min_max(bits, granularity, seed):
    weight = drawn_weight(seed)
    found, widest = (round_weight(weight, Scheme(bits, None, granularity, ranges)) for ranges in ("mse", "minmax"))
    rows = (slice(None),) if granularity == "tensor" else range(len(weight))
    for row in rows:
        errors = [(r.to_weight()[row] - weight[row]).double().square().sum() for r in (found, widest)]
        assert errors[0] <= errors[1] * (1 + 1e-5)
    assert (found.scale <= widest.scale).all() and (found.scale >= 0.199 * widest.scale).all()


def test_the_search_finds_what_a_search_by_hand_finds():
    """Independent reference: float64, one channel, numbers of its own between 0.2 and 1."""
    weight = torch.randn(1, 400, generator=torch.Generator().manual_seed(1))
    weight[0, 0] = 12.0
    scheme = Scheme(4, None, "channel", "mse")
    wide = weight.abs().max().double() / 7
    errors = {}
    for share in torch.linspace(0.2, 1.0, 173, dtype=torch.float64):
        errors[float(share)] = float(
            ((weight.double() / (wide * share)).round().clamp(-7, 7) * wide * share - weight).square().sum()
        )
    assert squared_error(weight, scheme) <= 1.01 * min(errors.values())
    assert squared_error(weight, scheme) < 0.6 * squared_error(weight, Scheme(4, None))


@pytest.mark.parametrize("ranges", ("minmax", "mse"))
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_more_bits_and_more_scales_lose_less(ranges, seed):
    weight = drawn_weight(seed, (8, 16, 3, 3))
    for granularity in ("channel", "tensor"):
        by_bits = [squared_error(weight, Scheme(bits, None, granularity, ranges)) for bits in (4, 6, 8)]
        assert all(few > many for few, many in itertools.pairwise(by_bits))
    for bits in (4, 6, 8):
        channel, tensor = (squared_error(weight, Scheme(bits, None, g, ranges)) for g in ("channel", "tensor"))
        assert channel <= tensor


@given(low=st.floats(-1e3, 0), high=st.floats(0, 1e3), bits=st.sampled_from((4, 6, 8)), seed=st.integers(0, 10_000))
def test_activations_lie_on_the_grid_and_zero_stays_zero(low, high, bits, seed):
    levels = 2**bits - 1
    grid = ActivationGrid.spanning(low, high, levels)
    values = low + (high - low) * torch.rand(100, generator=torch.Generator().manual_seed(seed))
    rounded = grid.round(values)
    integers = rounded.double() / grid.scale + grid.zero_point
    assert 0 <= grid.zero_point <= levels and grid.scale > 0
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-3)
    assert integers.min() >= -1e-3 and integers.max() <= levels + 1e-3
    assert float(grid.round(torch.zeros(1))) == 0.0
    # the ends may move by half a step to put zero on the grid, so the worst is half a step beyond half a step
    assert ((rounded - values).abs() <= grid.scale * (1 + 1e-3)).all()
    ends = [(end - grid.zero_point) * grid.scale for end in (0, levels)]
    inside = (values >= ends[0]) & (values <= ends[1])
    assert ((rounded - values)[inside].abs() <= grid.scale * (0.5 + 1e-3)).all()


def seen(values: Tensor, pieces: int) -> tuple[Range, Histogram]:
    within = Range()
    for piece in values.chunk(pieces):
        within.add(piece)
    histogram = Histogram(within)
    for piece in values.chunk(pieces):
        histogram.add(piece)
    return within, histogram


@pytest.mark.parametrize("bits", (4, 6, 8))
@given(seed=st.integers(0, 10_000), relu=st.booleans())
@settings(max_examples=15)
def test_ranges_of_activations_have_less_error_and_do_not_depend_on_pieces(bits, seed, relu):
    """The errors are those of the values themselves, not of their histogram."""
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(seed)) ** 3
    values = values.relu() if relu else values
    levels = 2**bits - 1
    within, histogram = seen(values, 7)
    assert histogram.counts.sum() == (values != 0).sum()
    assert (within.low, within.high) == (min(0.0, float(values.min())), float(values.max()))
    found, widest = histogram.grid(levels), within.grid(levels)
    assert found == seen(values, 1)[1].grid(levels)
    error = {grid: float((grid.round(values) - values).square().sum()) for grid in (found, widest)}
    assert error[found] <= error[widest] * (1 + 1e-2)
    tried = [ActivationGrid.spanning(within.low * s, within.high * s, levels) for s in SHARES.tolist()]
    assert error[found] <= 1.02 * min(float((grid.round(values) - values).square().sum()) for grid in tried)


def test_an_input_of_zeros_has_a_grid():
    within, histogram = seen(torch.zeros(50), 2)
    assert histogram.grid(15) == within.grid(15)
    assert torch.equal(within.grid(15).round(torch.zeros(3)), torch.zeros(3))
