"""Joint drop against the sum of the separate drops, for every group of four cells."""

from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from dashboard.figures.tradeoff import looks_of, marker
from dashboard.words import text
from dashboard.words.palette import GREY, Look, look_of
from tdq_core.analysis.additivity import Cells, Interval
from tdq_core.records.record import RunRecord


class AdditivityPoint(NamedTuple):
    """Four cells: drops and interaction as (estimate, low, high), shares of the images (0-1), 95 %."""

    run_id: str
    treatment: str
    look: Look
    decomposed: Interval
    quantized: Interval
    summed: Interval
    joint: Interval
    interaction: Interval


class AdditivityInfo(NamedTuple):
    points: tuple[AdditivityPoint, ...]

    def containing_zero(self) -> int:
        """How many interactions have an interval that contains zero: no departure from additivity is seen there."""
        return sum(low <= 0 <= high for _, low, high in (p.interaction for p in self.points))

    def above_zero(self) -> int:
        return sum(p.interaction[1] > 0 for p in self.points)

    def below_zero(self) -> int:
        return sum(p.interaction[2] < 0 for p in self.points)


def additivity_info(cells: Iterable[Cells]) -> AdditivityInfo:
    """One point for each group of four cells."""
    return AdditivityInfo(tuple(_point(c) for c in cells))


def _point(cells: Cells) -> AdditivityPoint:
    spec = cells.both.spec
    return AdditivityPoint(
        cells.both.run_id, text.treatment(spec), look_of(spec),
        cells.drop_decomposed(), cells.drop_quantized(), cells.drop_summed(), cells.drop_both(), cells.interaction(),
    )  # fmt: skip


def joined_runs(cells: Iterable[Cells]) -> list[RunRecord]:
    """Every run that is a cell of one of the groups, each once."""
    runs = [r for c in cells for r in (c.dense, c.decomposed, c.quantized, c.both)]
    return list({r.run_id: r for r in runs}.values())


def what_is_seen(info: AdditivityInfo) -> str:
    """The picture in words, counted from the data."""
    total, inside = len(info.points), info.containing_zero()
    largest = max(info.points, key=lambda p: abs(p.interaction[0]))
    apart = []
    if above := info.above_zero():
        apart.append(f"{above} {_lies(above)} above zero (together they lose more than the sum of both)")
    if below := info.below_zero():
        apart.append(f"{below} {_lies(below)} below zero (together they lose less)")
    one_in = " By chance alone about one interval in twenty misses a true zero." if total >= 20 else ""
    return (
        f"{inside} of {total} interaction intervals contain{'s' * (total == 1)} zero"
        f"{': ' + '; '.join(apart) if apart else ''}.{one_in} The largest interaction is "
        f"{text.points(largest.interaction[0])} points {text.interval(*largest.interaction[1:])}, "
        f"for {largest.treatment}."
    )


def _lies(number: int) -> str:
    return "lies" if number == 1 else "lie"


def additivity_figure(info: AdditivityInfo, *, intervals: bool = True) -> go.Figure:
    """The scatter with the identity line; each point's `customdata` is the id of the run with both treatments."""
    figure = go.Figure()
    _draw_identity(figure, info)
    for some in looks_of(info.points):
        figure.add_trace(_scatter(some, intervals))
    figure.update_xaxes(title="Sum of the separate drops, D(TD) + D(Q) (points)", zeroline=False)
    figure.update_yaxes(title="Joint drop, D(TD + Q) (points)", zeroline=False)
    figure.update_layout(height=480, margin={"l": 8, "r": 8, "t": 16, "b": 8}, hovermode="closest", uirevision="same")
    return figure


def _draw_identity(figure: go.Figure, info: AdditivityInfo) -> None:
    ends = [100 * e for p in info.points for e in (*p.summed, *p.joint)] or [0, 1]
    figure.add_trace(
        go.Scatter(
            x=[min(ends), max(ends)], y=[min(ends), max(ends)], mode="lines", name="additive: joint = sum",
            line={"color": GREY, "dash": "dash", "width": 1.5}, hoverinfo="skip",
        )
    )  # fmt: skip


def _scatter(some: list[AdditivityPoint], intervals: bool) -> go.Scatter:
    look = some[0].look
    name = f"{look.variant.label} + {look.numbers.label}"
    bars = {"x": _bars([p.summed for p in some]), "y": _bars([p.joint for p in some])} if intervals else {}
    return go.Scatter(
        x=[100 * p.summed[0] for p in some], y=[100 * p.joint[0] for p in some], mode="markers",
        name=", ".join((name, *(mark.text for mark in look.marks))), marker=marker(look),
        error_x=bars.get("x"), error_y=bars.get("y"),
        customdata=[p.run_id for p in some], text=[_facts(p) for p in some], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _bars(values: list[Interval]) -> dict[str, object]:
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 0,
        "array": [100 * (high - mid) for mid, _, high in values],
        "arrayminus": [100 * (mid - low) for mid, low, _ in values],
    }  # fmt: skip


def _facts(point: AdditivityPoint) -> str:
    named = (
        ("decomposition alone", point.decomposed),
        ("quantization alone", point.quantized),
        ("sum of both", point.summed),
        ("together", point.joint),
        ("interaction", point.interaction),
    )
    lines = [f"{name} {text.points(v[0])} {text.interval(*v[1:])}" for name, v in named]
    return "<br>".join((f"<b>{point.treatment}</b>", *lines, f"run {point.run_id[:8]}"))
