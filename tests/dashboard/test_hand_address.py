"""Ranks by hand stand in the address, and an address brings them back; what layers cannot have is told."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest
from test_views import opened, words

from dashboard.facts.hand_address import bits_of, bits_text, hand_of, hand_text
from dashboard.facts.planning import can_be_decomposed
from tdq_core.layers.table import LayerTable
from tdq_core.ranks.costs import max_ranks, method_for
from tdq_core.records.store import shipped_folder

TABLES = sorted((shipped_folder() / "layers").glob("*.json"))


@pytest.mark.parametrize("method", ["tucker2", "cp", "svd", "spatial", "auto"])
@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_text_says_the_ranks_and_no_others(path: Path, method: str) -> None:
    layers, draw = LayerTable.read(path).layers, random.Random(0)
    able = [la for la in layers if can_be_decomposed(la, method)]
    for _ in range(20):
        some = draw.sample(able, draw.randint(1, len(able)))
        hand = {la.name: tuple(draw.randint(1, top) for top in max_ranks(la, method_for(la, method))) for la in some}
        assert hand_of(hand_text(hand, layers), layers, method) == hand
    one = some[0]
    above = {**hand, one.name: tuple(top + 1 for top in max_ranks(one, method_for(one, method)))}
    assert hand_of(hand_text(above, layers), layers, method) is None
    assert hand_of(hand_text(hand, layers[1:]), layers, method) is None


@given(text=st.text(max_size=40) | st.text("0123456789x.-", max_size=40))
def test_whatever_an_address_says_is_ranks_or_nothing(text: str) -> None:
    layers = LayerTable.read(TABLES[1]).layers[:4]
    found = hand_of(text, layers, "tucker2")
    assert found is None or hand_text(found, layers) in (text, "")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_text_says_the_bits_and_no_others(path: Path) -> None:
    layers, draw = LayerTable.read(path).layers, random.Random(0)
    for _ in range(20):
        bits = {la.name: draw.randint(2, 8) for la in draw.sample(layers, draw.randint(1, len(layers)))}
        assert bits_of(bits_text(bits, layers), layers) == bits
    assert bits_text({}, layers) == "" and bits_of(bits_text(bits, layers), layers[1:]) is None
    assert bits_of("9" * len(layers), layers) is bits_of("1" * len(layers), layers) is None


@given(text=st.text(max_size=6) | st.text("0123456789-", min_size=4, max_size=4))
def test_whatever_an_address_says_is_bits_or_nothing(text: str) -> None:
    layers = LayerTable.read(TABLES[1]).layers[:4]
    found = bits_of(text, layers)
    assert found is None or bits_text(found, layers) in (text, "")


def in_address(at: AppTest) -> str:
    found = at.query_params["ranks"]
    return found if isinstance(found, str) else found[0]


def test_an_address_with_ranks_opens_them_and_a_slider_writes_them(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", method="tucker2", rule="manual")
    text = in_address(at)
    assert re.fullmatch(r"(-|\d+x\d+)(\.(-|\d+x\d+))+", text)
    slider = next(s for s in at.slider if "rank out" in s.label)
    slider.set_value(slider.value - 1)
    at.run()
    moved = in_address(at)
    assert moved != text
    other = opened(app, "views/explore.py", method="tucker2", rule="manual", ranks=moved)
    assert in_address(other) == moved
    assert [s.value for s in other.slider] == [s.value for s in at.slider]


@pytest.mark.parametrize("ranks", ["1x1", "999x999.-", "no"])
def test_ranks_that_the_layers_cannot_have_are_told(app: str, filled: Path, ranks: str) -> None:
    at = opened(app, "views/explore.py", method="tucker2", rule="manual", ranks=ranks)
    assert f"ranks={ranks}" in words(at)
    assert in_address(at) != ranks
