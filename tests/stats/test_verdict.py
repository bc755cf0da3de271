"""What is said of a bound, with known truth: 'shown' is seldom false, and a choice by its upper bound seldom luck."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdq_core.stats.intervals import paired_mean, upper_bounds
from tdq_core.stats.score import Z90_ABOVE, Z95
from tdq_core.stats.verdict import Verdict, images_to_settle, verdict

TRIALS = 4000


@pytest.mark.parametrize("n", [100, 500, 5000])
@pytest.mark.parametrize("limit, won", [(0.01, 0.0), (0.01, 0.002), (0.02, 0.05), (0.05, 0.02)])
@pytest.mark.parametrize("z, rate", [(Z95, 0.025), (Z90_ABOVE, 0.115)])
def test_a_bound_that_the_truth_just_reaches_is_called_kept_at_most_as_often_as_said(n, limit, won, z, rate):
    """Counts are whole numbers: where five images differ, the one in ten is one in eight."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, [limit + won, won, 1 - limit - 2 * won], size=TRIALS)
    called = upper_bounds(counts[:, 0], counts[:, 1], n, z=z) <= limit
    assert called.mean() <= rate + 4 * np.sqrt(rate * (1 - rate) / TRIALS)


counts = st.tuples(*[st.integers(0, 60)] * 3).filter(sum)


@given(st.lists(counts, min_size=1, max_size=4))
def test_many_bounds_at_once_are_those_one_by_one(many):
    lost, won, kept = np.array(many).T
    found = upper_bounds(lost, won, lost + won + kept)
    alone = [paired_mean(np.repeat([1, -1, 0], each), z=Z90_ABOVE)[2] for each in many]
    assert found == pytest.approx(alone, abs=1e-9)


@given(counts, st.floats(0, 1))
def test_verdicts_follow_the_interval(each, limit):
    interval = paired_mean(np.repeat([1, -1, 0], each))
    found = verdict(interval, limit)
    assert (found == Verdict.SHOWN) == (interval[2] <= limit)
    assert (found == Verdict.MISSED) == (interval[0] > limit)
    needed = images_to_settle(interval, limit, sum(each))
    assert found != Verdict.SHOWN or needed == sum(each)
    assert found != Verdict.MISSED or needed is None
    assert found != Verdict.CONSISTENT or needed is None or needed > sum(each)


def test_so_many_images_settle_it():
    interval = paired_mean(np.repeat([1, -1, 0], (6, 2, 492)))
    needed = images_to_settle(interval, 0.012, 500)
    factor = needed / 500
    more = paired_mean(np.repeat([1, -1, 0], [round(factor * count) for count in (6, 2, 492)]))
    assert verdict(interval, 0.012) == Verdict.CONSISTENT and more[2] == pytest.approx(0.012, rel=0.1)
