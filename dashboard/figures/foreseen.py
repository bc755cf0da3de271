"""A pipeline's predicted curve with its band, its measured runs, and the plan at hand."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.facts.foreseen import Foreseen, Seen
from dashboard.words import text
from dashboard.words.palette import ACCENT, look_of
from tdq_core.specs import RunSpec

HEIGHT = 260
TICKS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20)
REACH = 2.0
"""The axis of the drop ends at this many times the plan's own upper end, and not below five points."""


def foreseen_figure(front: Sequence[Foreseen], seen: Sequence[Seen], now: Foreseen | None, spec: RunSpec) -> go.Figure:
    colour = look_of(spec).variant.colour
    figure = go.Figure()
    if front:
        ratios = [point.ratio for point in front]
        figure.add_trace(go.Scatter(
            x=[*ratios, *reversed(ratios)],
            y=[100 * p.high for p in front] + [100 * p.low for p in reversed(front)],
            mode="lines", fill="toself", line={"width": 0}, fillcolor=colour, opacity=0.18, hoverinfo="skip",
            name="90 % band",
        ))  # fmt: skip
        figure.add_trace(go.Scatter(
            x=ratios, y=[100 * p.drop for p in front], mode="lines", name="predicted",
            line={"color": colour, "dash": "dot"}, hovertemplate="%{x:.2f}x: %{y:.2f} points<extra>predicted</extra>",
        ))  # fmt: skip
    if seen:
        figure.add_trace(_with_interval(seen, "measured", {"color": colour, "size": 8}, thickness=1))
    if now:
        marker = {"symbol": "circle-open", "size": 15, "color": ACCENT, "line": {"width": 3}}
        figure.add_trace(_with_interval([now], "this plan, predicted", marker, thickness=2))
    top = max(5.0, REACH * 100 * now.high) if now else 20.0
    figure.update_xaxes(title="Params: original / compressed", type="log", ticksuffix="x", tickvals=TICKS)
    figure.update_yaxes(title="Top-1 drop (points)", range=[-1.0, top])
    figure.update_layout(
        height=HEIGHT, margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "itemclick": False, "itemdoubleclick": False},
    )  # fmt: skip
    return figure


def _with_interval(points: Sequence[Foreseen] | Sequence[Seen], name: str, marker: dict[str, object], *,
                   thickness: int) -> go.Scatter:  # fmt: skip
    return go.Scatter(
        x=[p.ratio for p in points], y=[100 * p.drop for p in points], mode="markers", name=name, marker=marker,
        error_y={"type": "data", "array": [100 * (p.high - p.drop) for p in points],
                 "arrayminus": [100 * (p.drop - p.low) for p in points], "thickness": thickness, "width": 3,
                 "color": marker["color"]},
        hovertext=[f"{p.ratio:.2f}x smaller: {text.points(p.drop)} {text.interval(p.low, p.high)}" for p in points],
        hovertemplate="%{hovertext}<extra>" + name + "</extra>",
    )  # fmt: skip
