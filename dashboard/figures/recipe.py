"""Everything that a recipe tried: what is lost against how small it is, and where the target lies."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from dashboard.figures.tradeoff import marker
from dashboard.words import text
from dashboard.words.markup import label
from dashboard.words.palette import ACCENT, GREY, Look
from dashboard.words.recipe import TRIED, arm_label, arm_variant, target_text
from tdq_core.recipes.candidates import DENSE
from tdq_core.recipes.choices import Pick
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import parse_target

REACH = 3.0
"""The axis of the drop ends at this many times the largest drop that meets the target, with room for small ones."""
LEAST_REACH = 5.0
CROSSES = {False: "x-thin", True: "cross-thin"}
"""Of the images that judge: upright where factors were fitted to outputs."""
TICKS = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 100)


def recipe_figure(report: Report) -> go.Figure:
    """One line a pipeline, with its runs on the images of the choice (as on all pages) and on the others (crosses)."""
    figure, x_of = go.Figure(), _x_of(report)
    for name, arm in TRIED.items():
        look = Look(arm_variant(arm), arm.precision)
        if picks := sorted((p for p in report.tried if p.arm == name), key=x_of):
            figure.add_traces([_line(name, look, picks, x_of), _verified(name, look, picks, x_of)])
    if report.chosen:
        figure.add_trace(_ring(report.chosen, x_of))
    _target(figure, report)
    title = "Time of a call, as told: dense INT8 / compressed" if report.call else "File: original / compressed"
    figure.update_xaxes(title=title, type="log", ticksuffix="x", tickvals=TICKS)
    figure.update_yaxes(title="Top-1 drop (points)", range=[_best(report) - 1, reach(report)])
    figure.update_layout(
        height=420, margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "itemclick": False, "itemdoubleclick": False},
    )  # fmt: skip
    return figure


def _x_of(report: Report) -> Callable[[Pick], float]:
    """Where a run stands: how much smaller its file is, or how much faster it is told to be than dense INT8."""
    dense = next((p.told_ms for p in report.tried if p.arm == DENSE.name), None)
    if report.call is None or not dense:
        return lambda p: p.bytes_ratio
    return lambda p: dense / p.told_ms if p.told_ms else 1.0


def reach(report: Report) -> float:
    """The largest drop on the axis, in points: what lies far off is cut off, so that the target can be read."""
    near = [100 * p.chosen_drop[0] for p in report.tried if p.met]
    target = parse_target(report.target)
    limit = 100 * target.limit if target.kind == "drop" else max(near, default=0.0)
    return max(LEAST_REACH, REACH * limit)


def _best(report: Report) -> float:
    """The least drop on either half, in points, or 0."""
    return 100 * min(0.0, *(drop for p in report.tried for drop in (p.chosen_drop[0], p.verified_drop[0])))


def outside_text(report: Report) -> str:
    """Which runs lie beyond the axis; '' where none does."""
    far = sorted(100 * p.chosen_drop[0] for p in report.tried if 100 * p.chosen_drop[0] > reach(report))
    if not far:
        return ""
    told = ", ".join(f"{drop:.0f}" for drop in far)
    return f"Above the picture: {len(far)} run{'s' * (len(far) != 1)} that lose{'s' * (len(far) == 1)} {told} points."


def _line(arm: str, look: Look, picks: Sequence[Pick], x_of: Callable[[Pick], float]) -> go.Scatter:
    return go.Scatter(
        x=[x_of(p) for p in picks], y=[100 * p.chosen_drop[0] for p in picks], name=arm_label(arm),
        mode="lines+markers", line={"color": look.colour, "width": 1}, marker=marker(look),
        customdata=[_facts(p) for p in picks], hovertemplate="%{customdata}<extra></extra>", legendgroup=arm,
    )  # fmt: skip


def _verified(arm: str, look: Look, picks: Sequence[Pick], x_of: Callable[[Pick], float]) -> go.Scatter:
    middle, colour = [100 * p.verified_drop[0] for p in picks], look.colour
    up, down = ([100 * abs(p.verified_drop[i] - p.verified_drop[0]) for p in picks] for i in (2, 1))
    return go.Scatter(
        x=[x_of(p) for p in picks], y=middle, mode="markers", showlegend=False, legendgroup=arm,
        marker={"color": colour, "size": 9, "symbol": CROSSES[look.variant.fitted],
                "line": {"color": colour, "width": 2}},
        error_y={"type": "data", "array": up, "arrayminus": down, "color": colour, "thickness": 1, "width": 3},
        customdata=[_facts(p) for p in picks], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _facts(pick: Pick) -> str:
    of = "param" if pick.told_ms is None else "time"
    ratio = f" at {of} ratio {pick.ratio:g}" if pick.ratio else ""
    told = f"told {pick.told_ms:.3g} ms a call<br>" if pick.told_ms is not None else ""
    return (
        f"<b>{label(arm_label(pick.arm))}</b>{ratio}<br>"
        f"{text.file_size(pick.bytes)}, {text.both_ways(pick.bytes_ratio)}<br>"
        f"{told}drop {text.points(pick.chosen_drop[0])}, on the others {text.points(pick.verified_drop[0])} points"
    )


def _ring(chosen: Pick, x_of: Callable[[Pick], float]) -> go.Scatter:
    return go.Scatter(
        x=[x_of(chosen)], y=[100 * chosen.chosen_drop[0]], mode="markers", showlegend=False, hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 18, "color": ACCENT, "line": {"width": 3}},
    )  # fmt: skip


def _target(figure: go.Figure, report: Report) -> None:
    """A dotted line at the bound, where it lies on one of the axes."""
    target = parse_target(report.target)
    style = {
        "line": {"color": GREY, "dash": "dot"},
        "annotation": {"text": target_text(report), "font": {"color": GREY}},
    }
    if target.kind == "drop":
        figure.add_hline(100 * target.limit, annotation_position="top left", **style)
    elif target.kind == "ratio":
        figure.add_vline(target.limit, annotation_position="top", **style)
