"""A map of layers: what rounding each does to the answers, as it is and as factors of each method."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.words.markup import label
from tdq_core.prediction.meeting import Meeting, form_label, totals

DENSE = "Dense"
ROW, AROUND = 22, 110
"""Pixels of a layer's row, and of what stands around them."""


def map_figure(rows: Sequence[Meeting]) -> go.Figure:
    """A row for each layer in the order of the network, the dense layer first and the methods after it, from the one
    that adds least to the one that adds most; the colour is the change of the answers, on a logarithmic scale."""
    forms = [total.form for total in totals(rows)]
    values = [[row.dense, *(row.factors.get(form) for form in forms)] for row in rows]
    logs = [[math.log10(v) if v else None for v in line] for line in values]
    known = [v for line in logs for v in line if v is not None]
    ticks = list(range(math.floor(min(known)), math.ceil(max(known)) + 1)) if known else [0]
    figure = go.Figure(
        go.Heatmap(
            z=logs, x=[DENSE, *map(form_label, forms)], y=[label(row.layer) for row in rows], colorscale="Cividis",
            customdata=[[_facts(row, DENSE if at == 0 else forms[at - 1]) for at in range(len(forms) + 1)]
                        for row in rows],
            hovertemplate="<b>%{y}</b>, %{x}<br>%{customdata}<extra></extra>", hoverongaps=False, xgap=2, ygap=1,
            colorbar={"title": {"text": "Change of<br>the answers"}, "tickvals": ticks,
                      "ticktext": [f"10<sup>{text.replace('-', '−')}</sup>" for text in map(str, ticks)],
                      "thickness": 14},
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, tickmode="linear")
    figure.update_xaxes(side="top", type="category", showgrid=False)
    figure.update_layout(height=AROUND + ROW * len(rows), margin={"l": 8, "r": 8, "t": 32, "b": 8})
    return figure


def _facts(row: Meeting, form: str) -> str:
    change = row.dense if form == DENSE else row.factors.get(form)
    if change is None:
        return "not measured"
    told = f"moves the answers by {change:.2g} of their mean square"
    return told if form == DENSE or not row.dense else f"{told}:<br>{change / row.dense:.2g} times the dense layer"
