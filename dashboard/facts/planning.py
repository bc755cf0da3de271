"""Ranks by hand and the table of planned layers: plain values, no streamlit."""

from collections.abc import Mapping
from typing import Any

from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.bits import END_BITS
from tdq_core.ranks.costs import dense_cost, ladder, max_ranks, method_for, refusal
from tdq_core.ranks.plan import LayerPlan, Plan
from tdq_core.specs import PRECISIONS, RankRule

Hand = Mapping[str, Ranks]
"""Ranks by layer; a layer that is not in it is left alone."""
HandBits = Mapping[str, int]
"""Bits of weights by layer; a layer that is not in it has those of the precision."""


def hand_from(plan: Plan) -> Hand:
    """The ranks of a plan, to go on from by hand."""
    return {p.layer.name: p.ranks for p in plan.decomposed()}


def hand_rule(hand: Mapping[str, Ranks]) -> RankRule:
    """The rank rule that asks for these ranks; an InputError where there are none."""
    return RankRule("manual", ranks={n: r[0] if len(r) == 1 else r for n, r in hand.items()})


def can_be_decomposed(layer: Layer, method: str) -> bool:
    return method != "none" and refusal(layer, method_for(layer, method)) is None


def at_share(layer: Layer, method: str, share: float) -> Ranks:
    """Ranks at `share` (0-1] of the full ranks, at least 1 each."""
    return tuple(max(1, round(share * top)) for top in max_ranks(layer, method_for(layer, method)))


def starting_ranks(layer: Layer, method: str) -> Ranks:
    """Where a layer starts that was left alone until now: the middle of the ranks that save params, else half."""
    rungs = ladder(layer, method_for(layer, method))
    return rungs[len(rungs) // 2][0] if rungs else at_share(layer, method, 0.5)


def planned_bytes(plan: Plan, precision: str) -> int:
    """Bytes of the planned weights alone: params times bits of one; a real file also holds its graph and scales."""
    usual = PRECISIONS[precision].weight_bits
    own = sum(p.cost.params * (p.bits - usual) for p in plan.layers if p.bits)
    return -(-(plan.params * usual + own) // 8)


def takes_bits(table: LayerTable, layer: Layer) -> bool:
    """Whether the layer's weights may have bits of their own, as far as the table knows."""
    return table.files is None or (layer.name in table.files.packed and layer.name not in table.files.tied)


def shown_bits(planned: LayerPlan, precision: str) -> int:
    """Those that its weights have: its own, or those of the precision; at the ends of a network the usual ones."""
    usual = PRECISIONS[precision].weight_bits
    return planned.bits or (END_BITS if planned.layer.end and planned.method == "none" else usual)


def saving_limit(layer: Layer, method: str) -> str:
    """Up to where ranks save params, for the caption under a slider."""
    rungs = ladder(layer, method_for(layer, method))
    if not rungs:
        return "no rank saves params here"
    return f"saves params up to {layer.ranks_text(rungs[-1][0])}"


def untouched(table: LayerTable) -> Plan:
    """Every layer left alone: what the table shows while no plan can be made."""
    left = tuple(LayerPlan(la, "none", (), dense_cost(la), "no ranks yet") for la in table.layers)
    return Plan(left, table.params, table.macs, 1.0)


def layer_rows(table: LayerTable, plan: Plan, *, containing: str = "") -> list[dict[str, Any]]:
    """The layers whose name contains `containing`, as rows of the table on the screen."""
    return [_row(table, p) for p in plan.layers if containing.lower() in p.layer.name.lower()]


def _row(table: LayerTable, planned: LayerPlan) -> dict[str, Any]:
    layer = planned.layer
    return {
        "layer": layer.name,
        "shape": layer.shape_text,
        "params": layer.params,
        "share": layer.params / table.params,
        "ranks": layer.ranks_text(planned.ranks),
        "planned": planned.cost.params,
        **({"bits": planned.bits} if planned.bits else {}),
        "why": planned.skipped_because or "",
    }
