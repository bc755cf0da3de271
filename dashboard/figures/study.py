"""Accuracy against ratio: one line for each way of doing it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from dashboard import text
from dashboard.palette import GREY
from dashboard.study_views import Line, Point, View, points_of
from tdq_core.records import RunRecord


class Curve(NamedTuple):
    line: Line
    points: tuple[Point, ...]


def curves_of(view: View, records: Sequence[RunRecord]) -> tuple[Curve, ...]:
    """The view's lines that have at least one decomposed run."""
    found = (Curve(line, points_of(line, records)) for line in view.lines)
    return tuple(c for c in found if any(p.record.spec.method != "none" for p in c.points))


def curves_figure(curves: Iterable[Curve], *, intervals: bool) -> go.Figure:
    """Top-1 over the ratio of params, log scale; each point's `customdata` is its run's id."""
    curves, figure = tuple(curves), go.Figure()
    for curve in curves:
        figure.add_trace(_trace(curve, intervals))
    dense = next((p.record for c in curves for p in c.points if p.record.baseline), None)
    if dense and dense.baseline:
        figure.add_hline(y=100 * dense.baseline.top1, line={"color": GREY, "dash": "dash", "width": 1})
    ratios = sorted({round(p.ratio, 2) for c in curves for p in c.points})
    ticks = [r for r in (1, 1.25, 1.5, 2, 3, 4, 6, 8, 10) if not ratios or r <= ratios[-1] * 1.05]
    figure.update_xaxes(
        title="Params, original / compressed (share kept), log scale", type="log", zeroline=False, tickvals=ticks,
        ticktext=[f"{r:g}x<br>{100 / r:.0f} %" for r in ticks],
    )  # fmt: skip
    figure.update_yaxes(title="Top-1 (%)", zeroline=False)
    figure.update_layout(
        height=440, margin={"l": 8, "r": 8, "t": 16, "b": 8}, hovermode="closest", uirevision="same",
        legend={"itemclick": "toggle", "itemdoubleclick": False},
    )  # fmt: skip
    return figure


def _trace(curve: Curve, intervals: bool) -> go.Scatter:
    line, metrics = curve.line, [p.record.metrics for p in curve.points]
    top1 = [100 * m.top1 for m in metrics if m]
    bars = {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3,
        "array": [100 * (m.top1_high - m.top1) for m in metrics if m],
        "arrayminus": [100 * (m.top1 - m.top1_low) for m in metrics if m],
    }  # fmt: skip
    return go.Scatter(
        x=[p.ratio for p in curve.points], y=top1, mode="lines+markers", name=line.label,
        line={"color": line.colour, "dash": line.dash, "width": 2}, marker={"symbol": line.symbol, "size": 9},
        error_y=bars if intervals else None, customdata=[p.record.run_id for p in curve.points],
        text=[_facts(line, p) for p in curve.points], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _facts(line: Line, point: Point) -> str:
    record, metrics = point.record, point.record.metrics
    assert metrics, "only complete runs are drawn"
    drop, low, high = record.drop()
    return "<br>".join(
        (
            f"<b>{line.label}</b>, {text.both_ways(point.ratio)} (params)",
            f"top-1 {text.percent(metrics.top1)}, n = {metrics.n:,}",
            f"drop {text.points(drop)} points {text.interval(low, high)}, paired",
            f"file {text.file_size(metrics.bytes)}: {text.both_ways(record.bytes_ratio())}",
            f"run {record.run_id[:8]}",
        )
    )
