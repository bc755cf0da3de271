"""The one place where a chart is put on a page: its text reads well on the light and on the dark page."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.words.palette import TEXT

_TOOLS = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def draw(figure: go.Figure, key: str, *, on_pick: Callable[[], None] | None = None, bare: bool = False) -> None:
    """`figure` under a key of its own; `on_pick`: a press on a point; `bare`: without the row of tools."""
    colour = TEXT[st.context.theme.type or "light"]
    figure.update_layout(font={"color": colour}, legend={"font": {"color": colour}})
    axes = {"tickfont": {"color": colour}, "title": {"font": {"color": colour}}}
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    options: dict[str, Any] = {"on_select": on_pick, "selection_mode": "points"} if on_pick else {}
    tools = {"displaylogo": False, "displayModeBar": False} if bare else _TOOLS
    st.plotly_chart(figure, key=key, config=tools, **options)
