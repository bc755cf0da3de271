"""Intervals hold the truth as often as they say, few differing images or many."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.intervals import INTERACTIONS, drawn_tables, drop_truths, every_table, interaction_truths, judge, tango
from benchmarks.intervals import Method as Interval
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.stats.intervals import counted, paired_mean, paired_means, wilson
from tdq_core.stats.score import Z90_ABOVE, Z95, score_interval


def test_wilson_against_published_values():
    """Newcombe 1998 (Statistics in Medicine 17), table I, and scipy's proportion_ci('wilson') for 8 of 10."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, n), ends in published.items():
        assert wilson(right, n) == pytest.approx(ends, abs=5e-5)
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1


def differences(counts):
    return np.concatenate([np.full(n, value, dtype=float) for value, n in counts.items()])


tables = st.tuples(*[st.integers(0, 40)] * 2, st.integers(0, 400)).filter(any)


@given(tables)
@example((0, 0, 700))
@example((3, 0, 0))
@example((0, 1, 0))
def test_the_interval_of_a_drop_is_tangos(counts):
    """Its ends put Tango's statistic at z: the likeliest table of a drop d0 is the root of a quadratic equation."""
    lost, won, same = counts
    n = sum(counts)
    mean, low, high = paired_mean(differences({1: lost, -1: won, 0: same}))
    assert mean == pytest.approx((lost - won) / n) and -1 <= low <= mean <= high <= 1
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) == 1:  # nothing lies beyond
            assert lost == n or won == n
            continue
        b = -lost - won + (2 * n - lost + won) * end
        one_way = (math.sqrt(b**2 + 8 * n * won * end * (1 - end)) - b) / (4 * n)
        spread = math.sqrt(max(n * (2 * one_way + end * (1 - end)), 0))
        assert lost - won - n * end == pytest.approx(sign * Z95 * spread, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("largest", [1, 2])
@pytest.mark.parametrize("z", [Z90_ABOVE, Z95, 3.9])
@given(st.data())
def test_many_intervals_at_once_are_those_found_one_by_one(largest, z, data):
    row = st.lists(st.integers(0, 300) | st.just(0), min_size=2 * largest + 1, max_size=2 * largest + 1).filter(any)
    rows = [*data.draw(st.lists(row, max_size=8)), *(700 * np.eye(2 * largest + 1, dtype=int)).tolist()]
    values = range(-largest, largest + 1)
    images = [differences(dict(zip(values, counts, strict=True))) for counts in rows]
    found = paired_means(np.array([counted(own, largest) for own in images]), largest=largest, z=z)
    for own, interval in zip(images, found, strict=True):
        assert interval == pytest.approx(paired_mean(own, largest=largest, z=z), abs=1e-12)


def test_no_intervals_of_nothing():
    assert paired_means(np.empty((0, 3), dtype=int)) == []


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 100))
def test_a_drop_is_told_from_none_exactly_where_mcnemars_test_does(lost, won, same):
    _, low, high = paired_mean(differences({1: lost, -1: won, 0: same}))
    beyond = (lost - won) ** 2 - Z95**2 * (lost + won)
    if abs(beyond) > 1e-6:
        assert (low > 0 or high < 0) == (beyond > 0)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=40), st.integers(0, 200))
def test_an_interaction_turned_round_turns_its_interval_round(values, zeros):
    found = np.array([*values, *[0] * zeros], dtype=float)
    mean, low, high = paired_mean(found, largest=2)
    assert (-mean, -high, -low) == pytest.approx(paired_mean(-found, largest=2), abs=1e-12)
    assert -2 <= low <= mean <= high <= 2
    once = np.clip(found, -1, 1)
    assert paired_mean(once, largest=2)[1] <= paired_mean(once)[1] + 1e-12, "an image that may count twice says less"


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=30), st.integers(0, 100))
@example([0, 1, 1], 50)
def test_an_end_of_an_interaction_is_where_its_likeliest_distribution_allows_no_more(values, zeros):
    """The distribution by its own definition (Owen 1988): p_k = n_k / (n (1 + t (k - d0))), t so that the mean is d0,
    and what is left of the mass on the largest value where no such t leaves every p_k >= 0."""
    counts = {k: [*values, *[0] * zeros].count(k) for k in range(-2, 3)}
    n, mean = sum(counts.values()), sum(k * c for k, c in counts.items()) / sum(counts.values())
    _, high = score_interval(counts, 2)
    if high == 2:
        assert counts[2] == n
        return

    def shares(t):
        return {k: c / (n * (1 + t * (k - high))) if c else 0.0 for k, c in counts.items()}

    edge = -1 / (2 - high)  # beyond it the share of 2 would be negative
    below, above = edge * (1 - 1e-12), 0.0
    for _ in range(200):
        t = (below + above) / 2
        total = sum(p * (k - high) for k, p in shares(t).items())
        below, above = (t, above) if total > 0 else (below, t)
    likeliest = shares(t)
    likeliest[2] += 1 - sum(likeliest.values())
    assert sum(k * p for k, p in likeliest.items()) == pytest.approx(high, abs=1e-5)
    variance = sum(p * (k - high) ** 2 for k, p in likeliest.items())
    assert n * (high - mean) ** 2 == pytest.approx(Z95**2 * variance, rel=1e-4, abs=1e-7)


def test_where_no_image_differs_the_interval_is_nearly_the_exact_one():
    for n in (50, 700, 5000):
        exact = 1 - 0.025 ** (1 / n)
        _, low, high = paired_mean(np.zeros(n))
        assert low == -high and exact <= high <= 1.08 * exact
        assert paired_mean(np.zeros(n), largest=2)[2] == pytest.approx(2 * high)


@pytest.mark.parametrize("found", [np.zeros(0), np.array([0.5]), np.array([1.0, 2.0]), np.array([np.nan, 0.0])])
def test_what_is_no_difference_by_image_is_a_sentence(found):
    with pytest.raises(ValueError, match=r"at least one image|whole numbers in \[-1, 1\]"):
        paired_mean(found)


@pytest.mark.parametrize("n", [50, 700, 5000])
def test_drops_are_covered_however_few_images_differ(n):
    """Exact, over every table of counts: no expected number of differing images up to 12 is covered less often than
    0.93 of the time, and nowhere does the truth lie above the interval more often than 3 in 100."""
    found = [
        judge(Interval("", tango), truth, every_table(truth)) for k in range(1, 49) for truth in drop_truths(n, k / 4)
    ]
    assert min(f.covered for f in found) >= 0.93
    assert max(f.high for f in found) <= 0.03
    assert max(f.low for f in found) <= 0.055


@pytest.mark.parametrize("n", [50, 1000])
def test_interactions_are_covered_whatever_share_of_them_counts_twice(n):
    """4,000 draws a truth: at a coverage of 0.945 fewer than 0.93 would come once in 50,000 times."""
    rng, own = np.random.default_rng(0), INTERACTIONS[-1]
    found = [
        judge(own, truth, drawn_tables(truth, rng, 4000))
        for discordant in (1, 2, 3, 5, 10)
        for truth in interaction_truths(n, discordant)
    ]
    assert min(f.covered for f in found) >= 0.93
    assert max(f.high for f in found) <= 0.04


def test_the_exact_coverage_is_that_of_draws():
    rng = np.random.default_rng(1)
    for truth in itertools.chain(drop_truths(200, 2), drop_truths(200, 10)):
        exact = judge(Interval("", tango), truth, every_table(truth))
        drawn = judge(Interval("", tango), truth, drawn_tables(truth, rng, 10_000))
        assert drawn.covered == pytest.approx(exact.covered, abs=0.012)
        assert drawn.width == pytest.approx(exact.width, rel=0.02)


def test_samples_of_real_runs_are_covered():
    """The 5,000 test images of two shipped runs as the whole world: samples of 500 hold its drop 19 times in 20."""
    store, covered, tried = RunStore(shipped_folder()), 0, 0
    named = [r for r in store.all() if r.spec.model.name == "resnet20_cifar10" and r.metrics]
    runs = [r for r in named if r.spec.precision.name == "int8"]
    rng = np.random.default_rng(2)
    for record in sorted(runs, key=lambda r: r.drop()[0])[:: len(runs) // 8]:
        lost = record.baseline.correct().astype(float) - record.metrics.correct()
        for _ in range(250):
            _, low, high = paired_mean(rng.choice(lost, 500))
            covered += low <= lost.mean() <= high
            tried += 1
    assert tried >= 2000 and 0.935 <= covered / tried <= 0.99
