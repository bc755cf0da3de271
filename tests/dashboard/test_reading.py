"""What is drawn can be read: every chart has a name and a table in reach, and tables say numbers as pages do."""

import inspect
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest
from test_address import go
from test_views import opened

import dashboard
from dashboard.pages import PAGES
from dashboard.panels import charts, tables
from dashboard.words import text

FOLDER = Path(dashboard.__file__).parent
FORMS = ("%+.2f", "%.2f", "%.3f", "%.2fx", "%.2g", "%.1f", "%.4f", text.LOCALIZED, text.SHARE)


def test_charts_and_tables_are_put_on_a_page_in_one_place_each() -> None:
    for path in FOLDER.rglob("*.py"):
        code = path.read_text()
        assert path.name == "charts.py" or "plotly_chart" not in code, path
        assert path.name == "tables.py" or not re.search(r"st\.(dataframe|table)\(", code), path
    for draw in (charts.draw, charts.draw_once):
        asked = inspect.signature(draw).parameters
        assert all(asked[name].default is inspect.Parameter.empty for name in ("name", "table"))


@given(st.one_of(st.floats(-1e9, 1e9), st.integers(-(10**12), 10**12)), st.sampled_from(FORMS))
def test_a_number_of_a_table_has_a_true_minus_and_zero_has_no_sign(value: float, form: str) -> None:
    said = text.number(value, form)
    assert "-" not in said
    read = re.sub("[^0-9.e−]", "", said.replace("e+", "e")).replace("−", "-")
    near = 100 * value if form == text.SHARE else value
    assert float(read) == pytest.approx(near, rel=0.05, abs=0.06)
    assert float(read) or said[0] not in "+−", "zero has no sign"


def test_what_a_table_says_is_the_words_and_what_it_sorts_by_is_the_number() -> None:
    frame = pd.DataFrame({"drop": [-0.1, 0.001, float("nan")], "n": [12345, 2, 3], "what": ["a-b", "c", "d"]})
    columns: dict[str, Any] = {"drop": {"type_config": {"type": "number", "format": "%+.2f"}}}
    styled = tables.said(frame, columns)
    assert styled.data is frame
    cells = [
        [cell["display_value"] for cell in row if cell["type"] == "td"]
        for row in styled._translate(False, False)["body"]
    ]
    assert cells == [["−0.10", "12,345", "a-b"], ["0.00", "2", "c"], ["", "3", "d"]]


def drawn(at: AppTest) -> list[Any]:
    return [e.proto for e in at.get("plotly_chart")]


def test_every_chart_of_every_page_has_a_name_of_its_own_and_its_table(app: str, filled: Path) -> None:
    at, seen = opened(app, "views/explore.py"), 0
    for page in PAGES:
        go(at, page, {})
        names = [chart.alt for chart in drawn(at)]
        assert all(names) and len(set(names)) == len(names), page
        buttons = [e.proto.popover.label for e in at.get("popover")]
        for name in names:
            what, _, where = name.partition(". Its numbers: ")
            assert where.startswith("the table") or f"Table: {what}" in buttons, name
        seen += len(names)
    assert seen >= 7


def test_no_two_controls_of_a_page_go_by_one_name(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py")
    for page in PAGES:
        go(at, page, {})
        controls = (*at.slider, *at.selectbox, *at.number_input, *at.toggle, *at.checkbox, *at.multiselect, *at.button)
        labels = [c.label for c in controls if c.label]
        assert len(set(labels)) == len(labels), sorted(n for n in labels if labels.count(n) > 1)
    go(at, PAGES[0], {})
    assert len([s for s in at.slider if s.label.startswith("rank ")]) >= 4
