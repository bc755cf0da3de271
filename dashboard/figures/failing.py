"""CP in INT8 at one ratio: what each step costs, and what rounding does to each layer."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.facts.failing import Failure, LayerLoss, Step
from dashboard.figures.axes import log_range, log_ticks
from dashboard.words import text
from dashboard.words.markup import label
from dashboard.words.palette import GREY, STATES


def steps_figure(failure: Failure) -> go.Figure:
    """A row for each step: its drop with the paired interval, the dense network at zero."""
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": GREY, "width": 1.5})
    for step in failure.steps:
        figure.add_trace(_step(step))
    names = [s.line.label for s in failure.steps]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1])
    figure.update_xaxes(title="Top-1 drop against dense FP32 (points)", zeroline=False, side="bottom")
    figure.update_layout(
        height=80 + 40 * len(names), margin={"l": 8, "r": 60, "t": 24, "b": 8}, showlegend=False, hovermode="closest"
    )
    return figure


def _step(step: Step) -> go.Scatter:
    middle, low, high = (100 * value for value in step.drop)
    lost = f"<br>{text.points(step.lost[0])} on top of FP32 {text.interval(*step.lost[1:])}" if step.lost else ""
    return go.Scatter(
        x=[middle], y=[step.line.label], name=step.line.label, mode="markers+text", text=[text.points(step.drop[0])],
        textposition="top center", textfont={"size": 13}, cliponaxis=False,
        marker={"color": step.line.colour, "symbol": step.line.symbol, "size": 12,
                "line": {"width": 2, "color": step.line.colour}},
        error_x={"type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low],
                 "thickness": 2, "width": 5, "color": step.line.colour},
        customdata=[step.record.run_id],
        hovertemplate=f"<b>{step.line.label}</b><br>drop {text.points(step.drop[0])} "
                      f"{text.interval(*step.drop[1:])}{lost}<extra></extra>",
    )  # fmt: skip


def layers_figure(failure: Failure) -> go.Figure:
    """Left: what rounding alone does to each layer. Right: the same against how far its components cancel."""
    figure = make_subplots(
        rows=1, cols=2, column_widths=[0.6, 0.4], shared_yaxes=True, horizontal_spacing=0.04,
        subplot_titles=["Layer by layer", "Against how far components cancel"],
    )  # fmt: skip
    sets = (("als", failure.bare), ("epc", failure.mended))
    for state, layers in sets:
        for column in (1, 2):
            figure.add_trace(_layers(state, layers, column), row=1, col=column)
    every = [la for _, layers in sets for la in layers]
    errors, squares = [100 * la.error for la in every if la.error > 0], [la.squares for la in every if la.squares > 0]
    for axis, values in ((figure.update_yaxes, errors), (figure.update_xaxes, squares)):
        ticks = log_ticks(values)
        where = {"row": 1} if axis == figure.update_yaxes else {"row": 1, "col": 2}
        axis(type="log", range=log_range(values), tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], **where)
    figure.update_yaxes(title="Kernel moved by INT8 (%)", row=1, col=1)
    figure.update_xaxes(type="category", row=1, col=1, tickangle=-60)
    figure.update_xaxes(title="Squared norms of components, sum / |W|²", row=1, col=2)
    figure.update_yaxes(zeroline=False)
    figure.update_layout(
        height=420, margin={"l": 8, "r": 8, "t": 40, "b": 8}, hovermode="closest",
        legend={"orientation": "h", "y": 1.12, "yanchor": "bottom", "x": 0, "itemclick": False,
                "itemdoubleclick": False},
    )  # fmt: skip
    return figure


def _layers(state: str, layers: Sequence[LayerLoss], column: int) -> go.Scatter:
    look = STATES[state]
    x = [label(la.layer) for la in layers] if column == 1 else [la.squares for la in layers]
    return go.Scatter(
        x=x, y=[100 * la.error for la in layers], mode="markers", name=look.label, legendgroup=state,
        showlegend=column == 1, marker={"color": look.colour, "symbol": look.symbol, "size": 10},
        text=[f"<b>{label(la.layer)}</b>, {look.label}<br>moved by {text.percent(la.error, 1)}<br>"
              f"squared norms {la.squares:.3g} times that of the kernel" for la in layers],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
