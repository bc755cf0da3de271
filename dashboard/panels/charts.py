"""The one place where a chart is put on a page: its text reads well on the light and on the dark page."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.shelf import catalog
from dashboard.words.palette import TEXT

_TOOLS = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def draw(figure: go.Figure, key: str, *, on_pick: Callable[[], None] | None = None, bare: bool = False) -> None:
    """`figure` under a key of its own; `on_pick`: a press on a point; `bare`: without the row of tools."""
    _show(_coloured(figure, _theme()), key, on_pick, bare)


def draw_once(make: Callable[[], go.Figure], key: str, *known: str) -> None:
    """The figure that `make` makes, which follows from what is `known` alone: made once for all visitors."""
    theme = _theme()
    _show(catalog.figure((key, theme, *known), lambda: _coloured(make(), theme)), key, None, bare=False)


def _theme() -> str:
    return st.context.theme.type or "light"


def _coloured(figure: go.Figure, theme: str) -> go.Figure:
    colour = TEXT[theme]
    figure.update_layout(font={"color": colour}, legend={"font": {"color": colour}})
    axes = {"tickfont": {"color": colour}, "title": {"font": {"color": colour}}}
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    return figure


def _show(figure: go.Figure, key: str, on_pick: Callable[[], None] | None, bare: bool) -> None:
    options: dict[str, Any] = {"on_select": on_pick, "selection_mode": "points"} if on_pick else {}
    tools = {"displaylogo": False, "displayModeBar": False} if bare else _TOOLS
    st.plotly_chart(figure, key=key, config=tools, **options)
