"""Drops against ratio, one line for each way of doing it; below it what fewer bits cost at the same ratio."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.facts.curves import Curve, Rounded, rounded
from dashboard.facts.study_views import Line, Point
from dashboard.figures.tradeoff import EDGE
from dashboard.words import text
from dashboard.words.palette import GREY
from tdq_core.analysis.additivity import Interval

_DODGE = 1.012
"""Neighbouring lines stand apart by this factor of the ratio where their intervals would cover each other."""


def curves_figure(curves: Iterable[Curve], *, intervals: bool) -> go.Figure:
    """Paired drops over the ratio of params, log scale, and below it what fewer bits lose at the same ratio; each
    point's `customdata` is its run's id, and a name in the legend stands for its line in both."""
    curves = tuple(curves)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.66, 0.34], vertical_spacing=0.06)
    for curve in curves:
        figure.add_trace(_trace(curve, intervals), row=1, col=1)
    losses = [(c.line, found) for c in curves if (found := rounded(c, curves))]
    for place, (line, found) in enumerate(losses):
        dodge = _DODGE ** (place - (len(losses) - 1) / 2)
        figure.add_trace(_rounded_trace(line, found, dodge, intervals), row=2, col=1)
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash", "width": 1}, row=1, col=1)
    figure.add_hline(y=0, line={"color": GREY, "width": 1}, row=2, col=1)
    ratios = sorted({round(p.ratio, 2) for c in curves for p in c.points})
    ticks = [r for r in (1, 1.25, 1.5, 2, 3, 4, 6, 8, 10) if not ratios or r <= ratios[-1] * 1.05]
    figure.update_xaxes(type="log", zeroline=False, tickvals=ticks,
                        ticktext=[f"{r:g}x<br>{100 / r:.0f} %" for r in ticks])  # fmt: skip
    figure.update_xaxes(title="Params, original / compressed (share kept), log scale", row=2, col=1)
    figure.update_yaxes(title="Top-1 drop (points)", zeroline=False, row=1, col=1)
    figure.update_yaxes(title="Lost on top of<br>FP32 (points)", zeroline=False, row=2, col=1)
    figure.update_layout(
        height=640, margin={"l": 8, "r": 8, "t": 16, "b": 8}, hovermode="closest", uirevision="same",
        legend={"itemclick": "toggle", "itemdoubleclick": False, "tracegroupgap": 0, "itemwidth": 56,
                "y": 0.94},
    )  # fmt: skip
    return figure


def _trace(curve: Curve, intervals: bool) -> go.Scatter:
    spreads = [p.record.drop() for p in curve.points]
    return _scatter(curve.line, [p.ratio for p in curve.points], spreads, intervals).update(
        customdata=[p.record.run_id for p in curve.points],
        text=[_facts(curve.line, p) for p in curve.points],
    )


def _rounded_trace(line: Line, found: Sequence[Rounded], dodge: float, intervals: bool) -> go.Scatter:
    return _scatter(line, [r.ratio * dodge for r in found], [r.loss for r in found], intervals).update(
        customdata=[r.record.run_id for r in found], text=[_loss_facts(line, r) for r in found], showlegend=False
    )


def _scatter(line: Line, x: Sequence[float], shares: Sequence[Interval], intervals: bool) -> go.Scatter:
    """Shares of the images in per cent, as the line is drawn."""
    bars = {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3,
        "array": [100 * (high - share) for share, _, high in shares],
        "arrayminus": [100 * (share - low) for share, low, _ in shares],
    }  # fmt: skip
    return go.Scatter(
        x=x, y=[100 * share for share, _, _ in shares], mode="lines+markers", name=line.label, legendgroup=line.label,
        line={"color": line.colour, "dash": line.dash, "width": 2},
        marker={"symbol": line.symbol, "size": 10,
                "line": {"width": 1} | ({"color": EDGE} if line.variant.fitted else {})},  # a dot that is seen
        error_y=bars if intervals else None, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _loss_facts(line: Line, run: Rounded) -> str:
    loss, low, high = run.loss
    return "<br>".join(
        (
            f"<b>{line.label}</b>, {text.both_ways(run.ratio)} (params)",
            f"{text.points(loss)} points {text.interval(low, high)} lost on top of FP32, paired",
            f"run {run.record.run_id[:8]}",
        )
    )


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
