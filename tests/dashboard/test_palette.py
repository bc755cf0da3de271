"""Colours for everybody's eyes: seen on the light and the dark page, and told apart with every common colour vision."""

import itertools

import numpy as np
import pytest

from benchmarks.colours import (
    LEAST,
    VISIONS,
    Sign,
    contrast,
    difference,
    every_chart,
    lab,
    linear,
    pairs,
    signs,
    themes,
)
from dashboard.words.palette import ACCENT, STATES, TEXT, WARNING, Look
from tdq_core.specs import PRECISIONS
from tdq_core.specs.variant import variants


def test_the_difference_is_that_of_the_paper() -> None:
    for one, other, wanted in (((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
                               ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
                               ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373)):  # fmt: skip
        assert difference(np.array(one), np.array(other)) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("vision", VISIONS)
def test_two_variants_are_told_apart_by_colour_or_by_their_mark(vision: str) -> None:
    looks = [Look(variant) for variant in variants()]
    for one, other in itertools.combinations(looks, 2):
        if one.symbol == other.symbol:
            seen = [lab(VISIONS[vision] @ linear(look.colour)) for look in (one, other)]
            assert difference(*seen) >= LEAST, (one.variant.label, other.variant.label)


def test_no_two_signs_of_a_chart_differ_by_colours_alone_that_somebody_takes_for_one() -> None:
    """Every pair that a chart of what is shipped holds, on every page."""
    charts = 0
    for name, figure in every_chart():
        found = signs(figure)
        assert found, name
        for pair in pairs(found):
            assert pair.difference >= LEAST or not pair.by_colour_alone, (name, pair)
        for sign, ground in itertools.product(found, themes().values()):
            assert contrast(sign.colour, ground) >= 3, (name, sign)
        charts += 1
    assert charts >= 40


def test_a_pair_by_colour_alone_is_found() -> None:
    blue, like = Sign("one", "#0065c6", "circle"), Sign("other", "#826ada", "circle")
    (pair,) = pairs([blue, like])
    assert pair.by_colour_alone and pair.difference < LEAST and pair.vision == "protanopia"
    assert not pairs([blue, like._replace(second="diamond")])[0].by_colour_alone


def test_marks_and_words_are_seen_on_both_pages() -> None:
    for mode, page in themes().items():
        assert contrast(TEXT[mode], page) >= 4.5
        for colour in {v.colour for v in variants()} | {s.colour for s in STATES.values()} | {ACCENT, WARNING}:
            assert contrast(colour, page) >= 3, (mode, colour)


def test_states_of_a_cp_and_precisions_have_a_sign_beside_their_colour() -> None:
    assert len({s.symbol for s in STATES.values()}) == len(STATES)
    assert len({PRECISIONS[name].symbol for name in ("fp32", "fp16", "int8")}) == 3
