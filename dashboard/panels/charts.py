"""The one place where a chart is put on a page: it has a name for those who hear the page, its numbers stand in a table
in reach, and its text reads well on the light and on the dark page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.panels import tables
from dashboard.shelf import catalog
from dashboard.words.palette import TEXT

_TOOLS = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
Rows = Callable[[], Sequence[Mapping[str, Any]]]
Table = Rows | str
"""The numbers of a chart: as rows, which a button beneath it shows, or where on the page they stand already."""


def draw(
    figure: go.Figure, key: str, name: str, table: Table, *, on_pick: Callable[[], None] | None = None,
    bare: bool = False,
) -> None:  # fmt: skip
    """`figure` under a key of its own; `name`: what it shows, in a few words; `on_pick`: a press on a point, or a
    box where the chart is dragged to select; `bare`: without the row of tools."""
    _show(_coloured(figure, _theme()), key, name, table, on_pick, bare)


def draw_once(make: Callable[[], go.Figure], key: str, name: str, table: Table, *known: str) -> None:
    """The figure that `make` makes, which follows from what is `known` alone: made once for all visitors."""
    theme = _theme()
    figure = catalog.figure((key, theme, *known), lambda: _coloured(make(), theme))
    _show(figure, key, name, table, None, bare=False)


def _theme() -> str:
    return st.context.theme.type or "light"


def _coloured(figure: go.Figure, theme: str) -> go.Figure:
    colour = TEXT[theme]
    figure.update_layout(font={"color": colour}, legend={"font": {"color": colour}})
    axes = {"tickfont": {"color": colour}, "title": {"font": {"color": colour}}}
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    return figure


def _show(figure: go.Figure, key: str, name: str, table: Table, on_pick: Callable[[], None] | None, bare: bool) -> None:
    modes = "box" if figure.layout.dragmode == "select" else "points"
    options: dict[str, Any] = {"on_select": on_pick, "selection_mode": modes} if on_pick else {}
    tools = {"displaylogo": False, "displayModeBar": False} if bare else _TOOLS
    where = table if isinstance(table, str) else "the button after it shows them"
    st.plotly_chart(figure, key=key, config=tools, alt=f"{name}. Its numbers: {where}.", **options)
    if not isinstance(table, str):
        _table(key, name, table)


def _table(key: str, name: str, rows: Rows) -> None:
    """Made when it is asked for."""
    numbers = st.popover(f"Table: {name}", icon=":material/table:", type="tertiary", key=f"{key}-table",
                         on_change="rerun")  # fmt: skip
    if numbers.open:
        with numbers:
            tables.show(rows())
