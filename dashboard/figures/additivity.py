"""Interactions as they are tested: each with its paired interval against zero, method by method."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.facts.additions import Addition, Kind, kinds_of
from dashboard.facts.scales import SCALES, Scale
from dashboard.figures.tradeoff import marker
from dashboard.words import text
from dashboard.words.palette import GREY
from tdq_core.analysis.joint_moves import JointMove

WIDTH = 0.8
"""Of a column of one method in one precision, which are 1 apart."""
MOST_UPRIGHT = 10
"""Columns whose names stand under them without being turned."""


def additivity_figure(additions: Sequence[Addition], scale: Scale = SCALES["points"]) -> go.Figure:
    """A column for each method and precision, its groups, which are told on `scale`, in the order of the sum of their
    separate drops; each point's `customdata` is the id of the run with both treatments."""
    figure, kinds = go.Figure(), kinds_of(additions)
    figure.add_hrect(y0=-100 * scale.margin, y1=100 * scale.margin, fillcolor=GREY, opacity=0.15, line_width=0)
    figure.add_hline(y=0, line={"color": GREY, "width": 1.5})
    for place, kind in enumerate(kinds):
        figure.add_trace(_column(place, kind, scale))
    _name_the_exceptions(figure, kinds, scale)
    figure.update_xaxes(
        tickvals=list(range(len(kinds))), ticktext=[_broken(k.name) for k in kinds], zeroline=False, showgrid=False,
        range=[-0.6, len(kinds) - 0.4], tickangle=0 if len(kinds) <= MOST_UPRIGHT else -35,
    )  # fmt: skip
    figure.update_yaxes(title=scale.title, zeroline=False)
    figure.update_layout(
        height=460, margin={"l": 8, "r": 8, "t": 16, "b": 8}, hovermode="closest", uirevision="same", showlegend=False
    )
    return figure


def places(kind: Kind, place: int) -> list[float]:
    """Where its groups stand in the column around `place`, side by side."""
    count = len(kind.additions)
    return [place + WIDTH * ((i + 0.5) / count - 0.5) for i in range(count)]


def _column(place: int, kind: Kind, scale: Scale) -> go.Scatter:
    values = [scale.value(a) for a in kind.additions]
    drawn = marker(kind.additions[0].look)
    return go.Scatter(
        x=places(kind, place), y=[100 * v[0] for v in values], mode="markers", name=kind.name,
        marker=drawn | {"size": 8},
        error_y={
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 0, "color": drawn["color"],
            "array": [100 * (v[2] - v[0]) for v in values], "arrayminus": [100 * (v[0] - v[1]) for v in values],
        },
        customdata=[a.run_id for a in kind.additions], text=[facts(a) for a in kind.additions],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _name_the_exceptions(figure: go.Figure, kinds: Sequence[Kind], scale: Scale) -> None:
    """The number of the furthest one of each kind, beyond its interval."""
    for place, kind in enumerate(kinds):
        apart = [(x, a) for x, a in zip(places(kind, place), kind.additions, strict=True) if scale.apart(a)]
        if not apart:
            continue
        x, value = max(((x, scale.value(one)) for x, one in apart), key=lambda pair: abs(pair[1][0]))
        above = value[0] > 0
        figure.add_annotation(
            x=x, y=100 * value[2 if above else 1], text=text.points(value[0]), showarrow=False,
            yshift=9 if above else -9, font={"size": 12},
        )  # fmt: skip


def _broken(name: str) -> str:
    """Over several lines under its column."""
    return name.replace(", ", "<br>").replace(" (", "<br>(")


def facts(one: Addition) -> str:
    """What the pointer shows."""
    named = (
        ("decomposition alone", one.decomposed),
        ("quantization alone", one.quantized),
        ("sum of both", one.summed),
        ("together", one.joint),
        ("interaction", one.interaction),
    )
    lines = [f"{name} {text.points(v[0])} {text.interval(*v[1:])}" for name, v in named]
    if isinstance(moved := one.moved, JointMove):
        lines += [
            f"squared change {moved.decomposed:.2g} and {moved.quantized:.2g}, together {moved.both:.2g}",
            f"of the sum {text.points(moved.share[0])} % {text.interval(*moved.share[1:])}",
        ]
    return "<br>".join((f"<b>{one.treatment}</b>", *lines, f"run {one.run_id[:8]}"))
