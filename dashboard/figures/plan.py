"""What each layer keeps of its params under a plan."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from dashboard.words import text
from dashboard.words.markup import label
from tdq_core.layers.methods import METHODS
from tdq_core.ranks.plan import LayerPlan
from tdq_core.specs.variant import Variant

MOST_NAMES = 24


class PlanBar(NamedTuple):
    """One layer: the share of its params that is kept (1: dense), and the method that it takes ('none': dense).
    `facts` is what the pointer shows."""

    layer: str
    kept: float
    method: str
    facts: str


def plan_bars(layers: Iterable[LayerPlan]) -> tuple[PlanBar, ...]:
    """One bar for each layer, in the order of the model."""
    return tuple(PlanBar(p.layer.name, p.cost.params / p.layer.params, p.method, _facts(p)) for p in layers)


def _facts(planned: LayerPlan) -> str:
    layer = planned.layer
    ranks = f"{Variant(planned.method).label} {layer.ranks_text(planned.ranks)}".strip()
    kept = f"{planned.cost.params:,} of {layer.params:,} params"
    macs = f"{text.count(planned.cost.macs)} of {text.count(layer.macs)} MACs"
    return "<br>".join((f"<b>{label(layer.name)}</b> {layer.shape_text}", ranks, kept, macs))


def plan_figure(bars: Sequence[PlanBar]) -> go.Figure:
    """Bars in the colour of the method, dense layers in grey; names under them where there is room."""
    figure = go.Figure()
    for look in map(Variant, ("none", *METHODS)):
        if some := [bar for bar in bars if bar.method == look.method]:
            figure.add_trace(
                go.Bar(
                    x=[label(bar.layer) for bar in some], y=[100 * bar.kept for bar in some], name=look.label,
                    marker={"color": look.colour}, customdata=[bar.facts for bar in some],
                    hovertemplate="%{customdata}<extra></extra>",
                )
            )  # fmt: skip
    names = [label(bar.layer) for bar in bars]
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=names, showticklabels=len(bars) <= MOST_NAMES,
        title=None if len(bars) <= MOST_NAMES else "Layers, in the order of the model",
    )  # fmt: skip
    figure.update_yaxes(title="Params kept (%)", rangemode="tozero")
    figure.update_layout(
        height=260, margin={"l": 8, "r": 8, "t": 8, "b": 8}, bargap=0.15, barmode="overlay", showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "itemclick": False, "itemdoubleclick": False},
    )  # fmt: skip
    return figure
