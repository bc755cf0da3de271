"""Accuracy against size: every complete run of a group, and the Pareto front."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import plotly.graph_objects as go

from dashboard.figures.axes import log_ticks
from dashboard.figures.frame import HEIGHT, MARGIN, Frame, x_ends, y_ends
from dashboard.words import text
from dashboard.words.palette import ACCENT, GREY, Look, look_of
from tdq_core.records.record import Metrics, RunRecord
from tdq_core.specs import PRECISIONS
from tdq_core.stats.pareto import pareto_front


class Axis(NamedTuple):
    """What an axis shows: its title with the unit, a record's value, and whether small or large is good."""

    title: str
    value: Callable[[RunRecord], float]
    small_is_good: bool
    unit: str = ""


X_AXES: Mapping[str, Axis] = {
    "bytes": Axis("File size (1 MB = 10⁶ bytes)", lambda r: _metrics(r).bytes, True, "B"),
    "params": Axis("Parameters", lambda r: _metrics(r).params, True),
    "macs": Axis("MACs per image (multiply-accumulates)", lambda r: _metrics(r).macs, True),
    "size_ratio": Axis("File size ratio (dense FP32 / this run)", lambda r: r.bytes_ratio(), False, "x"),
    "params_ratio": Axis("Parameter ratio (dense / this run)", lambda r: _metrics(r).compression_ratio, False, "x"),
}
Y_AXES: Mapping[str, Axis] = {
    "drop": Axis("Top-1 drop (points)", lambda r: r.drop()[0], True),
    "top1": Axis("Top-1 accuracy (%)", lambda r: _metrics(r).top1, False),
}


EDGE = "#f5f5f4"
"""Of filled symbols with a dot in them or a heavy edge."""
FADED, OPAQUE = 0.5, 0.95
MANY = 30
"""Points from which on those that matter stand out before the others."""


class Point(NamedTuple):
    """One run. `x` in the axis's own unit; `y`, `low`, `high` as shares (0-1); `facts` is what the pointer shows."""

    run_id: str
    x: float
    y: float
    low: float
    high: float
    look: Look
    facts: str


class TradeoffInfo(NamedTuple):
    """What the chart shows.

    Attributes:
        front: ids of the runs that no other run beats on both axes, in the order of cost.
        chosen: the run that is marked, None for none.
        span: the largest drop in the picture (0-1), None: that of the worst run.
        outside: how many runs lose more.
        dense: top-1 of the untouched network.
        stretched: whether the picture reaches further than was asked, for the run that is marked.
    """

    x_axis: str
    y_axis: str
    points: tuple[Point, ...]
    front: tuple[str, ...]
    chosen: str | None
    span: float | None = None
    outside: int = 0
    dense: float = 0.0
    stretched: bool = False

    def lost(self, point: Point) -> float:
        """The drop of one of its points, whatever the axis shows."""
        return point.y if Y_AXES[self.y_axis].small_is_good else self.dense - point.y


def tradeoff_info(
    records: Sequence[RunRecord], *, x_axis: str = "bytes", y_axis: str = "drop", chosen: str | None = None,
    span: float | None = None,
) -> TradeoffInfo:  # fmt: skip
    """Points and front of complete `records`, which share model and images; a chosen run is always in the picture."""
    x, y = X_AXES[x_axis], Y_AXES[y_axis]
    points = tuple(_point(r, x_axis, y_axis) for r in records)
    signed = [(p.x if x.small_is_good else -p.x, -p.y if y.small_is_good else p.y) for p in points]
    front = tuple(points[i].run_id for i in pareto_front(signed))
    base = records[0].baseline if records else None
    info = TradeoffInfo(x_axis, y_axis, points, front, None, span, 0, base.top1 if base else 0.0)
    marked = [p for p in points if p.run_id == chosen]
    if span is not None and (far := [info.lost(p) for p in marked if info.lost(p) > span]):
        info = info._replace(span=math.ceil(100 * max(far) + 0.5) / 100, stretched=True)
    reach = math.inf if info.span is None else info.span
    return info._replace(chosen=chosen if marked else None, outside=sum(info.lost(p) > reach for p in points))


def _point(record: RunRecord, x_axis: str, y_axis: str) -> Point:
    metrics = _metrics(record)
    y, low, high = record.drop() if y_axis == "drop" else (metrics.top1, metrics.top1_low, metrics.top1_high)
    return Point(
        record.run_id, X_AXES[x_axis].value(record), y, low, high, look_of(record.spec), record.remembered(_facts)
    )  # fmt: skip


def _facts(record: RunRecord) -> str:
    m = _metrics(record)
    drop, low, high = record.drop()
    return "<br>".join(
        (
            f"<b>{text.treatment(record.spec)}</b>",
            f"top-1 {text.percent(m.top1)} [{text.percent(m.top1_low)}, {text.percent(m.top1_high)}], n = {m.n:,}",
            f"drop {text.points(drop)} points {text.interval(low, high)}, paired",
            f"file {text.file_size(m.bytes)}: {text.both_ways(record.bytes_ratio())}",
            f"params {text.count(m.params)}: {text.both_ways(m.compression_ratio)}",
            f"MACs {text.count(m.macs)} per image",
            f"run {record.run_id[:8]}",
        )
    )


def _metrics(record: RunRecord) -> Metrics:
    assert record.metrics, "only complete runs are drawn"
    return record.metrics


def frame_of(info: TradeoffInfo) -> Frame:
    """The ends of its axes."""
    y = y_ends([100 * p.y for p in info.points]) if info.span is None else _y_range(info, info.span)
    return Frame(info.x_axis, info.y_axis, x_ends([p.x for p in info.points]), y, info.dense)


def tradeoff_figure(info: TradeoffInfo, frame: Frame | None = None, *, intervals: bool = False) -> go.Figure:
    """The chart; each point's `customdata` is its run's id. Runs outside of the picture are not in it."""
    figure = go.Figure()
    top, reach = {*info.front, info.chosen}, math.inf if info.span is None else info.span
    inside = [p for p in info.points if info.lost(p) <= reach]
    for some in looks_of(p for p in inside if p.run_id not in top):
        figure.add_trace(_scatter(some, intervals, opacity=FADED if len(info.points) > MANY else OPAQUE))
    _draw_front(figure, info)
    for some in looks_of(p for p in inside if p.run_id in top):
        figure.add_trace(_scatter(some, intervals, opacity=OPAQUE))
    _draw_chosen(figure, info)
    _draw_legend(figure, info)
    return _lay_out(figure, frame or frame_of(info))


class Drawn(Protocol):
    """What has a look."""

    @property
    def look(self) -> Look: ...


D = TypeVar("D", bound=Drawn)


def looks_of(points: Iterable[D]) -> list[list[D]]:
    """Points of one look together: one trace each, always in the same order."""
    found: dict[Look, list[D]] = {}
    for p in points:
        found.setdefault(p.look, []).append(p)
    return [found[look] for look in sorted(found, key=lambda look: look.place)]


def marker(look: Look) -> dict[str, Any]:
    """How a run of this look is drawn; hollow and dotted symbols get a line that can be seen."""
    line: dict[str, Any] = {"width": look.edge} if look.edge else {}
    if look.edge and not look.bare:
        line["color"] = EDGE
    return {"color": look.colour, "symbol": look.symbol, "size": 10} | ({"line": line} if line else {})


def _draw_front(figure: go.Figure, info: TradeoffInfo) -> None:
    by_id = {p.run_id: p for p in info.points}
    reach = math.inf if info.span is None else info.span
    front = [by_id[i] for i in info.front if info.lost(by_id[i]) <= reach]
    figure.add_trace(
        go.Scatter(
            x=[p.x for p in front], y=[100 * p.y for p in front], mode="lines+markers", name="Pareto front",
            line={"color": GREY, "width": 1.5, "dash": "dot", "shape": "hv"},
            marker={"symbol": "circle-open", "size": 19, "color": GREY, "line": {"width": 1.5}}, hoverinfo="skip",
            customdata=[p.run_id for p in front],
        )
    )  # fmt: skip


def _scatter(some: Sequence[Point], intervals: bool, *, opacity: float) -> go.Scatter:
    look = some[0].look
    bars = {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3,
        "array": [100 * (p.high - p.y) for p in some], "arrayminus": [100 * (p.y - p.low) for p in some],
    }  # fmt: skip
    return go.Scatter(
        x=[p.x for p in some], y=[100 * p.y for p in some], mode="markers", showlegend=False,
        name=f"{look.variant.label}, {look.numbers.label}",
        marker=marker(look) | {"opacity": opacity},
        error_y=bars if intervals else None,
        customdata=[p.run_id for p in some], text=[p.facts for p in some], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _draw_chosen(figure: go.Figure, info: TradeoffInfo) -> None:
    for p in info.points:
        if p.run_id == info.chosen:
            figure.add_trace(
                go.Scatter(
                    x=[p.x], y=[100 * p.y], mode="markers+text", name="run shown", hoverinfo="skip",
                    customdata=[p.run_id], text=["shown"], textposition="top center", textfont={"size": 13},
                    marker={"symbol": "circle-open", "size": 24, "color": ACCENT, "line": {"width": 3}},
                )
            )  # fmt: skip


def _draw_legend(figure: go.Figure, info: TradeoffInfo) -> None:
    """Colour and symbol are explained apart: a trace for every pair would be a long list."""
    looks = sorted({p.look for p in info.points}, key=lambda look: look.place)
    for variant in dict.fromkeys(look.variant for look in looks):
        figure.add_trace(_key(variant.label, marker(Look(variant))))
    for precision in (p for p in PRECISIONS.values() if any(look.precision == p.name for look in looks)):
        shape = {"color": GREY, "symbol": precision.symbol, "size": 10}
        figure.add_trace(_key(precision.label, shape))
    for mark in sorted({mark for look in looks for mark in look.marks}, reverse=True):  # hollow before dotted
        shape = {
            "color": GREY,
            "symbol": f"diamond{mark.suffix}",
            "size": 10,
            "line": {"width": 1 + 2 * (not mark.suffix)},
        }
        figure.add_trace(_key(f"{mark.looks}: {mark.text}", shape))


def _key(name: str, marker: Mapping[str, object]) -> go.Scatter:
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, hoverinfo="skip")


def _lay_out(figure: go.Figure, frame: Frame) -> go.Figure:
    x, y = X_AXES[frame.x_axis], Y_AXES[frame.y_axis]
    ticks = log_ticks([10**end for end in frame.x])
    figure.update_xaxes(
        title=f"{x.title}, log scale", type="log", zeroline=False, range=frame.x, tickvals=ticks,
        ticktext=[_tick_text(tick, x) for tick in ticks], fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(
        title=y.title, zeroline=frame.y_axis == "drop", zerolinecolor=GREY, zerolinewidth=1, range=frame.y,
        fixedrange=True,
    )  # fmt: skip
    figure.update_layout(
        height=HEIGHT, margin=MARGIN, hovermode="closest", dragmode=False,
        legend={"itemclick": False, "itemdoubleclick": False, "orientation": "h", "y": -0.137, "yanchor": "top",
                "entrywidth": 112, "font": {"size": 11}},
    )  # fmt: skip
    return figure


def _tick_text(tick: float, axis: Axis) -> str:
    """'50 kB', '2 M', '5x'."""
    if not axis.small_is_good:
        return f"{tick:g}{axis.unit}"
    power = min(int(math.log10(tick)) // 3, 4)
    return f"{tick / 1000**power:g} {('', 'k', 'M', 'G', 'T')[power]}{axis.unit}"


def _y_range(info: TradeoffInfo, span: float) -> tuple[float, float]:
    """From a little beyond the best run to a drop of `span`, in points or percent."""
    best = min(info.lost(p) for p in info.points)
    low, high = 100 * (best - 0.08 * (span - best)), 100 * (span + 0.04 * (span - best))
    return (low, high) if Y_AXES[info.y_axis].small_is_good else (100 * info.dense - high, 100 * info.dense - low)


def outside_text(info: TradeoffInfo) -> str:
    """What the picture does not reach, said under it."""
    if info.span is None:
        return ""
    why = "It reaches as far as the run that is shown. " * info.stretched
    if not info.outside:
        return why.strip()
    lose = "loses" if info.outside == 1 else "lose"
    return (
        f"{why}{info.outside} of {len(info.points)} runs {lose} more than {100 * info.span:g} points and lie outside: "
        "see 'Drops up to'."
    )


def better_corner(info: TradeoffInfo) -> str:
    """Where the good runs are, for the caption: 'Lower left is better'."""
    vertical = "Lower" if Y_AXES[info.y_axis].small_is_good else "Upper"
    return f"{vertical} {'left' if X_AXES[info.x_axis].small_is_good else 'right'} is better"
