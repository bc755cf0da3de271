"""Rounding in the metric of outputs: never worse than the nearest point, and on the grid."""

import itertools

import pytest
import torch
from torch import Tensor

from tdq_core.compression.quantize.aware.feedback import OnGrid, _elimination, descend, feed_back, round_with_feedback
from tdq_core.compression.quantize.aware.quadratic import Quadratic, quadratic
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import RoundedWeight, round_weight
from tdq_core.errors import NotNow

SHAPES = ((1, 5, 7), (3, 2, 4), (6, 1, 9), (1, 4, 150))
BITS = (2, 3, 4, 8)


def correlated(groups: int, rows: int, columns: int, seed: int = 0) -> Quadratic:
    """A metric in which neighbouring columns are much alike."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(groups, columns, columns, generator=generator, dtype=torch.float64)
    hessian = base @ base.mT / columns + torch.ones(columns, columns).double()
    hessian.diagonal(dim1=1, dim2=2).add_(0.1)
    return Quadratic(hessian, torch.randn(groups, rows, columns, generator=generator, dtype=torch.float64))


def nearest(error: Quadratic, scheme: Scheme) -> Tensor:
    return round_weight(error.best.flatten(0, 1).float(), scheme).to_weight().double().view_as(error.best)


@pytest.mark.parametrize("granularity", ("channel", "tensor"))
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_worse_than_the_nearest_point_and_on_the_grid(shape, bits, granularity):
    error, scheme = correlated(*shape), Scheme(bits, None, granularity)
    found = round_with_feedback(error, scheme)
    own, plain = (float(error.errors(weight).sum()) for weight in (found.to_weight(), nearest(error, scheme)))
    assert own <= plain * (1 + 1e-6)
    assert torch.equal(found.integers, found.integers.round())
    assert float(found.integers.abs().max()) <= scheme.weight_limit
    assert bool((found.scale > 0).all()) and torch.equal(found.scale, found.scale.float().double())
    assert granularity == "channel" or len(found.scale.unique()) == 1


@pytest.mark.parametrize("granularity", ("channel", "tensor"))
def test_rounded_weights_stay_where_they_are(granularity):
    """What is found is a fixed point of rounding to the nearest point of its own grid."""
    error, scheme = correlated(1, 6, 12), Scheme(3, None, granularity)
    found = round_with_feedback(error, scheme)
    scale = found.scale[0] if granularity == "channel" else found.scale[0, :1]
    stored = RoundedWeight(found.integers[0].to(torch.int8), scale.float(), 3)
    again = (stored.to_weight() / stored.scale[:, None]).round()
    assert torch.equal(again.to(torch.int8), stored.integers)


def test_as_good_as_all_integers_tried_nearly():
    """Two bits and four columns: against every combination at the scale that was found."""
    error = correlated(1, 8, 4, seed=3)
    found = round_with_feedback(error, Scheme(2, None))
    every = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=4)), dtype=torch.float64)
    own = error.errors(found.to_weight())[0]
    for row in range(8):
        tried = Quadratic(error.hessian, error.best[:, row : row + 1].expand(1, len(every), 4))
        least = float(tried.errors((every * found.scale[0, row])[None]).min())
        assert own[row] <= 1.25 * least + 1e-9


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] > 4])
def test_feedback_by_itself_is_far_better_than_the_nearest_points(shape):
    error = correlated(*shape, seed=2)
    scale = error.best.abs().amax(2) / 7
    plain = (error.best / scale[:, :, None]).round().clamp(-7, 7) * scale[:, :, None]
    fed = feed_back(error.best, scale, 7, *_elimination(error.hessian)) * scale[:, :, None]
    assert float(error.errors(fed).sum()) < 0.8 * float(error.errors(plain).sum())


@pytest.mark.parametrize("together", (False, True))
def test_descent_never_climbs(together):
    error = correlated(2, 4, 10, seed=5)
    scale = torch.full((2, 4), 0.3, dtype=torch.float64)
    start = OnGrid((error.best / 0.3).round().clamp(-3, 3), scale)
    missed = [float(error.errors(start.to_weight()).sum())]
    for sweeps in range(1, 5):
        missed.append(float(error.errors(descend(error, start, 3, together=together, sweeps=sweeps).to_weight()).sum()))
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(missed)) and missed[-1] < missed[0]


@pytest.mark.parametrize("groups", (1, 2, 4))
def test_the_quadratic_is_the_error_of_the_outputs(groups):
    """Against the mean squared error itself, without a ridge, up to what no weight changes."""
    generator = torch.Generator().manual_seed(1)
    rows, weight = torch.randn(400, 8, generator=generator), torch.randn(8, 8 // groups, generator=generator)
    wanted = torch.randn(400, 8, generator=generator) + 3
    error, means = quadratic(rows + 2, wanted, weight, groups, centred=True, name="it", ridge=1e-9)

    def missed(flat: Tensor) -> Tensor:
        seen = (rows + 2 - means.patches.float()).double().view(400, groups, -1).transpose(0, 1)
        made = (seen @ flat.mT).transpose(0, 1).flatten(1)
        return (made - (wanted - means.wanted)).square().mean(0)

    other = weight.double().view(groups, -1, weight.shape[1])
    apart = missed(other) - missed(error.best)
    torch.testing.assert_close(apart, error.errors(other).flatten(), rtol=1e-4, atol=1e-4)


def test_rows_are_rounded_alike_however_many_at_a_time(monkeypatch):
    error, scheme = correlated(2, 7, 12), Scheme(3, None)
    whole = round_with_feedback(error, scheme)
    monkeypatch.setattr("tdq_core.compression.quantize.aware.feedback.VALUES", 1)
    assert torch.equal(round_with_feedback(error, scheme).to_weight(), whole.to_weight())


def test_too_little_memory_is_said(monkeypatch):
    monkeypatch.setattr("tdq_core.compression.quantize.aware.quadratic.free_memory", lambda: 1000)
    with pytest.raises(NotNow, match="'it' in the metric of its outputs needs"):
        quadratic(torch.randn(9, 8), torch.randn(9, 4), torch.randn(4, 8), 1, centred=True, name="it")
