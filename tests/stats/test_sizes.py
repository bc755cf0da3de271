"""A ratio of sizes is told once, and told right on either side of one."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboard.words import text
from tdq_core.cli import terminal
from tdq_core.stats.sizes import both_ways


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(2.0, "2.00x smaller, 50.0 % kept"), (0.95, "1.05x larger, 105.3 % of it"), (0.5, "2.00x larger, 200.0 % of it"),
     (1.0, "same size"), (1.004, "same size"), (0.996, "same size"), (1.01, "1.01x smaller, 99.0 % kept")],
)  # fmt: skip
def test_a_ratio_in_words(ratio, told):
    assert both_ways(ratio) == told


@given(st.floats(0.001, 1000))
@example(0.995)
@example(0.9949999)
@example(1.005)
def test_smaller_keeps_less_and_larger_more(ratio):
    told = both_ways(ratio)
    assert terminal.both_ways(ratio) == told == text.both_ways(ratio).replace("\N{NO-BREAK SPACE}", " ")
    if told == "same size":
        assert abs(ratio - 1) <= 0.0051
        return
    factor, word, share = re.fullmatch(r"([\d.]+)x (smaller|larger), ([\d.]+) % (?:kept|of it)", told).groups()
    assert float(factor) > 1 and (word == "smaller") == (ratio > 1)
    assert (float(share) < 100) == (word == "smaller")
    assert float(factor) == pytest.approx(max(ratio, 1 / ratio), abs=0.0051)
