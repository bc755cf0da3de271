"""Interactions against the ratio of params: a panel for each method, a line for each precision."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.facts.additions import Addition
from dashboard.facts.scales import Scale
from dashboard.figures.additivity import facts
from dashboard.figures.axes import log_range, log_ticks
from dashboard.figures.tradeoff import marker
from dashboard.words.palette import GREY
from tdq_core.specs import PRECISIONS
from tdq_core.specs.variant import Variant, variants

ACROSS = 2
PANEL = 220
"""Height in pixels."""
LEAST = 2.0
"""Margins to either side that a panel shows at least: what is within is seen to be."""


def ratio_figure(additions: Sequence[Addition], scale: Scale) -> go.Figure:
    """Of additions that are told on `scale`. Groups that differ in the ratio alone are joined; each point's
    `customdata` is the id of the run with both treatments."""
    panels: dict[Variant, list[Addition]] = {variant: [] for variant in variants()}
    for one in additions:
        panels[one.look.variant].append(one)
    shown = [(variant, own) for variant, own in panels.items() if own]
    columns = min(ACROSS, len(shown))
    rows = -(-len(shown) // columns)
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=[variant.label for variant, _ in shown],
                           horizontal_spacing=0.08, vertical_spacing=min(0.3, 90 / (PANEL * rows)))  # fmt: skip
    for place, (_, own) in enumerate(shown):
        _panel(figure, own, scale, place // columns + 1, place % columns + 1)
    for precision in (p for p in PRECISIONS.values() if any(a.look.precision == p.name for a in additions)):
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines+markers", name=precision.label, hoverinfo="skip",
                                    line={"color": GREY, "dash": precision.dash, "width": 2},
                                    marker={"color": GREY, "symbol": precision.symbol, "size": 9}))  # fmt: skip
    ratios = [one.ratio for one in additions]
    ticks = log_ticks(ratios)
    figure.update_xaxes(type="log", range=log_range(ratios), tickvals=ticks, ticktext=[f"{r:g}x" for r in ticks],
                        zeroline=False)  # fmt: skip
    figure.update_xaxes(title="Params, original / compressed, log scale", row=rows)
    figure.update_yaxes(title=_broken(scale.title), zeroline=False, col=1)
    figure.update_yaxes(zeroline=False)
    figure.update_layout(
        height=PANEL * rows + 120, margin={"l": 8, "r": 8, "t": 32, "b": 8}, hovermode="closest", uirevision="same",
        legend={"orientation": "h", "y": -90 / (PANEL * rows), "yanchor": "top", "itemclick": False,
                "itemdoubleclick": False, "itemwidth": 56},
    )  # fmt: skip
    return figure


def _panel(figure: go.Figure, own: Sequence[Addition], scale: Scale, row: int, column: int) -> None:
    margin, values = 100 * scale.margin, [100 * end for one in own for end in scale.value(one)]
    reach = [min(-LEAST * margin, *values), max(LEAST * margin, *values)]
    room = 0.05 * (reach[1] - reach[0])
    lines: dict[str, list[Addition]] = {}
    for one in sorted(own, key=lambda one: (one.look.place, one.line, one.ratio)):
        lines.setdefault(one.line, []).append(one)
    for line in lines.values():
        figure.add_trace(_line(line, scale), row=row, col=column)
    figure.add_hrect(y0=-margin, y1=margin, fillcolor=GREY, opacity=0.15, line_width=0, row=row, col=column)
    figure.add_hline(y=0, line={"color": GREY, "width": 1.5}, row=row, col=column)
    figure.update_yaxes(range=[reach[0] - room, reach[1] + room], row=row, col=column)


def _line(line: Sequence[Addition], scale: Scale) -> go.Scatter:
    values, look = [scale.value(one) for one in line], line[0].look
    return go.Scatter(
        x=[one.ratio for one in line], y=[100 * v[0] for v in values], mode="lines+markers", showlegend=False,
        name=line[0].kind, marker=marker(look) | {"size": 9},
        line={"color": look.colour, "dash": look.numbers.dash, "width": 2},
        error_y={
            "type": "data", "symmetric": False, "thickness": 1, "width": 0, "color": look.colour,
            "array": [100 * (v[2] - v[0]) for v in values], "arrayminus": [100 * (v[0] - v[1]) for v in values],
        },
        customdata=[one.run_id for one in line], text=[facts(one) for one in line],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _broken(title: str) -> str:
    """Over two lines, before the unit."""
    return title.replace(" (", "<br>(")
