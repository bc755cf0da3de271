"""A part of the chart: kept in the address as it was drawn, and given up with the axes that it belongs to."""

import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_address import address
from test_views import opened

from dashboard.figures.frame import part_text, read_part

sizes = st.floats(1e-3, 1e12)
drops = st.floats(-100, 100)


@given(sizes, sizes, drops, drops)
def test_a_part_is_read_back_whichever_way_it_was_drawn(left: float, right: float, low: float, high: float) -> None:
    assume(abs(left / right - 1) > 0.01 and abs(low - high) > 0.1)
    text = part_text([left, right], [low, high])
    assert text == part_text([right, left], [high, low])
    found = read_part(text)
    assert found
    assert found[0] == pytest.approx(sorted(map(math.log10, (left, right))), abs=1e-3)
    assert found[1] == pytest.approx(sorted((low, high)), abs=0.05)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "2,1,0,1", "0,1,0,1", "-1,1,0,1", "1,2,1,1", "nan,2,0,1", "1,inf,0,1", "a,b,c,d"]
)
def test_what_is_no_part_is_none(text: str) -> None:
    assert read_part(text) is None


def test_the_address_keeps_the_part_until_the_axes_change(app, filled) -> None:
    at = opened(app, "views/explore.py", zoom="100,1000,-2,5")
    layout = json.loads(at.get("plotly_chart")[0].proto.spec)["layout"]
    assert layout["xaxis"]["range"] == [2, 3] and layout["yaxis"]["range"] == [-2, 5]
    assert any("A part of the chart: 3 of 4 runs lie outside" in c.value for c in at.caption)
    assert address(at)["zoom"] == "100,1000,-2,5"
    at.selectbox(key="x").set_value("params").run()
    assert "zoom" not in address(at) and not any(b.label == "Whole chart" for b in at.button)
    wrong = opened(app, "views/explore.py", zoom="3,2,1")
    assert any("zoom=3,2,1" in w.value for w in wrong.warning)
