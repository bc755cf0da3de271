"""Factors rounded in the metric of the whole layer: monotone, and its bookkeeping is the error itself."""

import pytest
import torch

from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.condition.chain import Chain
from tdq_core.compression.quantize.aware import whole_layer
from tdq_core.compression.quantize.aware.feedback import OnGrid
from tdq_core.compression.quantize.aware.whole_layer import _Group, round_inner
from tdq_core.compression.quantize.scheme import Scheme

OUT, IN, TAPS, RANK = 6, 5, 9, 8
KINDS = ("cp", "tucker2")


def chain_of(kind: str, seed: int = 0) -> Chain:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    middle = drawn(RANK, 1, TAPS) if kind == "cp" else drawn(4, RANK, TAPS)
    return Chain((drawn(RANK, IN, 1), middle, drawn(OUT, len(middle), 1)), torch.ones(OUT, dtype=torch.float64))


def seen_by(chain: Chain, seed: int = 1) -> Moments:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(IN * TAPS, IN * TAPS, generator=generator)
    rows = torch.randn(600, IN * TAPS, generator=generator) @ mixed
    kernel = chain.merged().view(OUT, IN, 3, 3).float()
    return moments(rows, rows @ kernel.flatten(1).T, kernel)


def nearest(factor: torch.Tensor, limit: int) -> torch.Tensor:
    scale = factor.abs().flatten(1).amax(1)[:, None, None] / limit
    return (factor / scale).round() * scale


@pytest.mark.parametrize("bits", (3, 4))
@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_is_that_of_the_whole_weight(kind, bits):
    chain = chain_of(kind)
    group = _Group(chain, seen_by(chain), [Scheme(bits, None)] * 3)
    group._put_last(group._of_last().best[0])
    for j in range(len(group.factors)):
        group._sweep(j, only_better=False)
    whole = group.last @ group._inner_kernel()
    torch.testing.assert_close(group.slope, whole @ group.seen.inputs - group.seen.cross, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("bits", (3, 4))
def test_far_better_than_the_nearest_points(bits):
    chain = chain_of("cp")
    seen, limit = seen_by(chain), 2 ** (bits - 1) - 1
    first, middle, last = round_inner(chain, [seen], [Scheme(bits, None)] * 3)
    made = Chain((first.to_weight().view(RANK, IN, 1), middle.to_weight().view(RANK, 1, TAPS),
                  last.to_weight().view(OUT, RANK, 1)), chain.gain)  # fmt: skip
    plain = Chain(tuple(nearest(stage, limit) for stage in chain.stages), chain.gain)
    assert seen.missed(made.merged().flatten(1)) < 0.5 * seen.missed(plain.merged().flatten(1))


def test_more_turns_are_never_worse():
    chain = chain_of("cp", seed=2)
    seen, missed = seen_by(chain), []
    for turns in (1, 2, 4):
        found = round_inner(chain, [seen], [Scheme(3, None)] * 3, turns=turns)
        weights = [each.to_weight().view_as(stage) for each, stage in zip(found, chain.stages, strict=True)]
        missed.append(seen.missed(Chain(tuple(weights), chain.gain).merged().flatten(1)))
    assert missed[2] <= missed[1] * (1 + 1e-9) <= missed[0] * (1 + 2e-9) and missed[2] < missed[0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_row_can_do_is_the_derivative_of_the_error(kind):
    """Of every factor, first and second, against differences of the layer's error itself."""
    chain = chain_of(kind)
    group = _Group(chain, seen_by(chain), [Scheme(4, None)] * 3)
    group._put_last(0.5 * group.last)
    step = torch.randn(max(IN, TAPS), generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def missed() -> float:
        return group.seen.missed(group.last @ group._inner_kernel())

    for j in range(len(group.factors)):
        reach = group._reach_of_middle(2) if j else group._reach_of_first(2)
        row, by = group.factors[j][2], step[: group.factors[j].shape[1]] * 0.1
        here = missed()
        row += by
        up = missed() - here
        row -= by
        assert up == pytest.approx(float(2 * reach.slope @ by + by @ reach.hessian @ by), rel=1e-6)


def test_a_turn_takes_no_row_that_is_worse(monkeypatch):
    chain = chain_of("cp")
    group = _Group(chain, seen_by(chain), [Scheme(3, None)] * 3)
    group._put_last(group._of_last().best[0])
    group._sweep(0, only_better=False)
    before = group.factors[0].clone()
    worse = OnGrid(torch.zeros(1, 1, IN, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    monkeypatch.setattr(whole_layer, "round_with_feedback", lambda *_: worse)
    group._sweep(0, only_better=True)
    assert torch.equal(group.factors[0], before)


def test_groups_are_rounded_each_by_itself():
    parts = [chain_of("cp", seed) for seed in (0, 1)]
    both = Chain.side_by_side(parts)
    seen = [seen_by(part, seed) for part, seed in zip(parts, (3, 4), strict=True)]
    together = round_inner(both, seen, [Scheme(4, None)] * 3)
    for number, (part, moments_) in enumerate(zip(parts, seen, strict=True)):
        alone = round_inner(part, [moments_], [Scheme(4, None)] * 3)
        for one, other in zip(together, alone, strict=True):
            assert torch.equal(one.integers[number], other.integers[0])


def test_components_of_zero_stay_finite():
    chain = chain_of("cp")
    for stage in chain.stages[:2]:
        stage[2] = 0
    chain.stages[2][:, 2] = 0
    for each in round_inner(chain, [seen_by(chain)], [Scheme(3, None)] * 3):
        assert bool(each.to_weight().isfinite().all()) and bool((each.scale > 0).all())
