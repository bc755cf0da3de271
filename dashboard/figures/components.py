"""Components of one CP layer in three variants, side by side on the same axes."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.words import text
from dashboard.words.components import sum_of_squares
from dashboard.words.markup import label as shown
from dashboard.words.palette import GREY, STATES, WARNING
from tdq_core.analysis.components import FEW_LEVELS, STAGES, VARIANTS, Components, Inner, LayerComponents, Stage

NORM_BIN = 0.1
"""Width of a bin of log10 norm."""
_BELOW = 0.06
"""Room under the smallest range, in shares of the axis: where the INT8 step would lie outside, it is not drawn."""


GRIDS: dict[str, Callable[[Stage], tuple[float, float]]] = {
    "channel": lambda stage: (stage.channel_step, stage.channel_zeros),
    "tensor": lambda stage: (stage.step, stage.zeros),
}
"""By granularity what a study holds of a sub-layer's INT8 grid: a step, and the share that rounds to zero."""
GRID_BITS = (8, 6, 4, 3)
"""Grids that can be drawn; those of few bits point by point."""
DRAWN_POINTS = 7


class Bars(NamedTuple):
    """A histogram on a log axis: middles of the bins as log10, and their heights."""

    middles: tuple[float, ...]
    heights: tuple[float, ...]


def norm_bars(layer: LayerComponents) -> dict[str, Bars]:
    """Components by log10 of their norm over |W|, in bins that all variants share; zero components are not drawn."""
    logs = {v: [math.log10(n) for n in layer.variants[v].norms if n > 0] for v in VARIANTS}
    places = {v: [math.floor(value / NORM_BIN) for value in values] for v, values in logs.items()}
    every = [p for found in places.values() for p in found] or [0]
    bins = range(min(every), max(every) + 1)
    middles = tuple((b + 0.5) * NORM_BIN for b in bins)
    return {v: Bars(middles, tuple(float(found.count(b)) for b in bins)) for v, found in places.items()}


def entry_bars(layer: LayerComponents, variant: str, stage: str) -> Bars:
    """Weights of a sub-layer by log10 of their size, as percent of all its entries."""
    found = layer.variants[variant].stages[stage]
    total = (sum(found.counts) + found.below) or 1
    middles = tuple((low + high) / 2 for low, high in itertools.pairwise(layer.bins))
    return Bars(middles, tuple(100 * count / total for count in found.counts))


def grid_of(layer: LayerComponents, variant: str, stage: str, *, granularity: str, bits: int) -> tuple[float, float]:
    """Step of the min-max grid of so many bits, and the share of the weights that round to zero on it: counted for
    INT8, read off the histogram for fewer bits."""
    found = layer.variants[variant].stages[stage]
    step, zeros = GRIDS[granularity](found)
    if bits == GRID_BITS[0] or step <= 0:
        return step, zeros
    step *= points_of(GRID_BITS[0]) / points_of(bits)
    edge, total = math.log10(step / 2), (sum(found.counts) + found.below) or 1
    under = float(found.below)
    for (low, high), count in zip(itertools.pairwise(layer.bins), found.counts, strict=True):
        under += count * min(max((edge - low) / (high - low), 0.0), 1.0)
    return step, under / total


def points_of(bits: int) -> int:
    """Positive points of a symmetric grid of so many bits."""
    return int(2 ** (bits - 1)) - 1


def strip_figure(study: Components, chosen: str) -> go.Figure:
    """Every layer: how far its components cancel, and how uneven its inner ranges are; a press chooses a layer."""
    names = [la.name for la in study.layers]
    facts: tuple[tuple[str, Callable[[Any], float]], ...] = (
        ("Squared norms of the components, sum / |W|²", sum_of_squares),
        ("Ranges inside, largest / median", lambda variant: variant.ratio),
    )
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.08, subplot_titles=[title for title, _ in facts])
    for column, (_, value) in enumerate(facts, start=1):
        for variant in VARIANTS:
            heights = [value(la.variants[variant]) for la in study.layers]
            figure.add_trace(_strip(names, heights, variant, first=column == 1), row=1, col=column)
        figure.add_vline(x=names.index(chosen), line={"color": GREY, "width": 14}, opacity=0.2, row=1, col=column)
        figure.update_yaxes(row=1, col=column, **_log_axis(study, value))
    figure.update_xaxes(type="category")
    figure.update_annotations(font={"size": 13})
    return _laid_out(figure, 320, legend=True)


def _strip(names: Sequence[str], heights: Sequence[float], variant: str, *, first: bool) -> go.Scatter:
    look = STATES[variant]
    label = look.label
    return go.Scatter(
        x=[shown(name) for name in names], y=list(heights), mode="markers", name=label, customdata=list(names),
        showlegend=first,
        marker={"color": look.colour, "symbol": look.symbol, "size": 10}, legendgroup=variant,
        hovertemplate=f"%{{x}}<br>{label}: %{{y:.3g}}<extra></extra>",
    )  # fmt: skip


def _log_axis(study: Components, value: Callable[[Any], float]) -> dict[str, Any]:
    """A log axis that reaches over at least half a decade, with room around the points."""
    found = [value(la.variants[v]) for la in study.layers for v in VARIANTS]
    logs = [math.log10(f) for f in found if 0 < f < math.inf] or [0.0]
    low, high = min(logs), max(logs)
    room = max(0.08 * (high - low), (0.5 - (high - low)) / 2, 0.05)
    return {"type": "log", "range": [low - room, high + room], **_ticks(low - room, high + room)}


def _ticks(low: float, high: float, *, linear: bool = False) -> dict[str, Any]:
    """Ticks between two powers of ten: steps between where the axis is short, powers alone where it is long.

    `linear`: the axis holds log10 of the values.
    """
    steps = (1, 1.5, 2, 3, 5, 7) if high - low <= 0.8 else (1, 2, 5) if high - low <= 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    every = math.ceil((high - low) / 6) if high - low > 6 else 1
    values = [s * 10.0**p for p in powers if p % every == 0 for s in steps if low <= math.log10(s * 10.0**p) <= high]
    places = [math.log10(v) for v in values] if linear else values
    return {"tickvals": places, "ticktext": [f"{v:g}" for v in values]}


def norms_figure(layer: LayerComponents) -> go.Figure:
    """Histograms of component norms; the dashed line is the norm of the whole kernel."""
    figure = _panels(1)
    bars = norm_bars(layer)
    ends = [m for b in bars.values() for m in b.middles]
    low, high = min(ends) - NORM_BIN, max(*ends, 0.0) + NORM_BIN
    for column, variant in enumerate(VARIANTS, start=1):
        found = bars[variant]
        largest = max(layer.variants[variant].norms)
        figure.add_trace(_bars(found, variant, "%{y:.0f} components"), row=1, col=column)
        figure.add_vline(x=0, line={"color": GREY, "dash": "dash", "width": 1.5}, row=1, col=column)
        figure.update_xaxes(title="norm / |W|", range=[low, high], row=1, col=column, **_ticks(low, high, linear=True))
        _note(figure, (1, column), f"largest {largest:.3g}")
    figure.update_yaxes(range=[0, 1.08 * max(h for b in bars.values() for h in b.heights)])
    figure.update_yaxes(title="components", row=1, col=1)
    return _laid_out(figure, 270)


def entries_figure(layer: LayerComponents, *, granularity: str, bits: int = GRID_BITS[0]) -> go.Figure:
    """Histograms of the weights of each sub-layer and the grid of so many bits: what lies in the shaded zone rounds to
    zero, and a grid of few bits is drawn point by point."""
    figure = _panels(len(STAGES))
    low, high = layer.bins[0], layer.bins[-1]
    for row, stage in enumerate(STAGES, start=1):
        bars = {variant: entry_bars(layer, variant, stage) for variant in VARIANTS}
        top = 1.08 * max(h for b in bars.values() for h in b.heights)
        for column, variant in enumerate(VARIANTS, start=1):
            step, zeros = grid_of(layer, variant, stage, granularity=granularity, bits=bits)
            figure.add_trace(_bars(bars[variant], variant, "%{y:.2f} %"), row=row, col=column)
            if step > 0:
                edge = max(math.log10(step / 2), low)
                figure.add_vrect(x0=low, x1=edge, fillcolor=WARNING, opacity=0.15, line_width=0, row=row, col=column)
                figure.add_vline(x=edge, line={"color": WARNING, "width": 1.5}, row=row, col=column)
                for point in _points(step, bits, high):
                    line = {"color": GREY, "width": 1, "dash": "dot"}
                    figure.add_vline(x=point, line=line, row=row, col=column)
            _note(figure, (row, column), f"{text.percent(zeros, 1)} to zero")
            figure.update_xaxes(range=[low, high], row=row, col=column, **_ticks(low, high, linear=True))
            figure.update_yaxes(range=[0, top or 1], row=row, col=column)
        figure.update_yaxes(title=f"{stage} (%)", row=row, col=1)
    figure.update_xaxes(title="|weight|", row=len(STAGES))
    return _laid_out(figure, 560)


def _points(step: float, bits: int, high: float) -> list[float]:
    """log10 of the grid's positive points up to the end of the axis, where there are few of them."""
    count = points_of(bits)
    logs = [math.log10(k * step) for k in range(1, count + 1)] if count <= DRAWN_POINTS else []
    return [place for place in logs if place <= high]


def ranges_figure(layer: LayerComponents) -> go.Figure:
    """Ranges of the components inside the layer, widest first, against the INT8 step that they all share."""
    names = STAGES[:2]
    figure = _panels(len(names))
    for row, name in enumerate(names, start=1):
        inner = [layer.variants[v].inner[name] for v in VARIANTS]
        low, high = _span(inner)
        for column, (variant, found) in enumerate(zip(VARIANTS, inner, strict=True), start=1):
            figure.add_trace(_sorted_ranges(found, variant), row=row, col=column)
            if found.step > 0:
                _draw_steps(figure, found.step, low, (row, column))
            few = f"{found.starved()} of {layer.rank} under {FEW_LEVELS} levels"
            _note(figure, (row, column), f"{few},<br>median {found.median_levels:.0f} levels")
            figure.update_yaxes(type="log", range=[low, high], row=row, col=column, **_ticks(low, high))
        figure.update_yaxes(title=f"range after {name}", row=row, col=1)
    figure.update_xaxes(title="component, widest first", row=len(names))
    return _laid_out(figure, 540)


def _span(inner: Sequence[Inner]) -> tuple[float, float]:
    """Ends of the axis as log10: all ranges, and the shared steps beneath them."""
    found = [math.log10(width) for i in inner for width in (*i.ranges, i.step) if width > 0] or [0.0]
    low, high = min(found), max(found)
    return low - _BELOW * (high - low + 1), high + _BELOW * (high - low + 1)


def _sorted_ranges(inner: Inner, variant: str) -> go.Scatter:
    widths = sorted((w for w in inner.ranges), reverse=True)
    return go.Scatter(
        x=list(range(1, len(widths) + 1)), y=[w if w > 0 else None for w in widths], mode="markers",
        marker={"color": STATES[variant].colour, "size": 5}, name=STATES[variant].label, showlegend=False,
        customdata=[w / inner.step if inner.step else 0 for w in widths],
        hovertemplate="component %{x}: range %{y:.3g}, %{customdata:.0f} levels<extra></extra>",
    )  # fmt: skip


def _draw_steps(figure: go.Figure, step: float, low: float, place: tuple[int, int]) -> None:
    """The INT8 step as a line; the zone up to `FEW_LEVELS` steps is shaded."""
    row, column = place
    figure.add_hrect(
        y0=10**low, y1=FEW_LEVELS * step, fillcolor=WARNING, opacity=0.15, line_width=0, row=row, col=column
    )
    figure.add_hline(y=step, line={"color": WARNING, "width": 1.5}, row=row, col=column)


def _panels(rows: int) -> go.Figure:
    """A column for each variant; all panels of a row share their axes."""
    titles = [f"<b>{STATES[v].label}</b>" for v in VARIANTS]
    figure = make_subplots(
        rows=rows, cols=len(VARIANTS), shared_xaxes="all", shared_yaxes="rows", column_titles=titles,
        horizontal_spacing=0.03, vertical_spacing=(0.0, 0.15, 0.09)[rows - 1],
    )  # fmt: skip
    return figure.update_annotations(yshift=34, font={"size": 14})


def _bars(bars: Bars, variant: str, told: str) -> go.Bar:
    width = bars.middles[1] - bars.middles[0] if len(bars.middles) > 1 else NORM_BIN
    return go.Bar(
        x=list(bars.middles), y=list(bars.heights), width=width, marker={"color": STATES[variant].colour},
        name=STATES[variant].label, showlegend=False, customdata=[10**m for m in bars.middles],
        hovertemplate=f"near %{{customdata:.3g}}: {told}<extra></extra>",
    )  # fmt: skip


def _note(figure: go.Figure, place: tuple[int, int], words: str) -> None:
    """A line above a panel."""
    row, column = place
    figure.add_annotation(
        text=words, xref="x domain", yref="y domain", x=0, y=1.01, xanchor="left", yanchor="bottom", align="left",
        showarrow=False, font={"size": 12}, row=row, col=column,
    )  # fmt: skip


def _laid_out(figure: go.Figure, height: int, *, legend: bool = False) -> go.Figure:
    figure.update_yaxes(zeroline=False)
    figure.update_xaxes(zeroline=False)
    figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 64, "b": 8}, bargap=0, hovermode="closest",
        showlegend=legend, legend={"orientation": "h", "y": 1.13, "yanchor": "bottom", "x": 0, "itemclick": False,
                                   "itemdoubleclick": False},
    )  # fmt: skip
    return figure
