"""How networks' own gains are put together into a prior: each as well as its runs tell it."""

import numpy as np
import pytest

from benchmarks.prediction import _spread


def test_networks_that_differ_truly_are_told_apart_from_the_noise_of_their_runs() -> None:
    draw = np.random.default_rng(0)
    deviations = draw.uniform(0.1, 1.0, 4000)
    told = draw.normal(-0.5, 0.6, 4000) + draw.normal(0, deviations)
    mean, between = _spread(list(zip(told, deviations, strict=True)))
    assert mean == pytest.approx(-0.5, abs=0.05)
    assert between == pytest.approx(0.6, abs=0.05)


def test_a_network_of_which_its_runs_tell_little_counts_little() -> None:
    mean, _ = _spread([(0.0, 0.1), (0.1, 0.1), (5.0, 4.0)])
    assert abs(mean - 0.05) < 0.1


def test_networks_that_agree_are_still_few() -> None:
    assert _spread([(0.2, 0.3), (0.2, 0.3), (0.2, 0.3)]) == pytest.approx((0.2, 0.35))
