"""Fits of whole networks at ranks by hand, and how far their logits are from the original ones."""

from repeated_nets import images
from torch import Tensor, nn

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.decompose.factors import Options
from tdq_core.graph.layer_table import read_layers
from tdq_core.ranks.costs import max_ranks
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import RankRule

FITS = {
    "calibrated": lambda net, plan, batches, count: apply_calibrated(net, plan, batches, options=Options()),
    "symmetric": lambda net, plan, batches, count: apply_symmetric(net, plan, batches, count, options=Options()),
}


def plan_of(net: nn.Module, method: str, rank: int | None) -> Plan:
    """Every layer that `method` can take, at `rank` or as far as the layer goes."""
    table = read_layers(net, images(2), name="n", digest="")
    ranks = {}
    for layer in table.layers:
        kind = "svd" if layer.taps == 1 else method
        tops = max_ranks(layer, kind)
        ranks[layer.name] = tuple(min(rank or top, top) for top in tops)
    return make_plan(table, "auto" if method == "tucker2" else method, RankRule("manual", ranks=ranks))


def off(made: nn.Module, net: nn.Module, some: Tensor) -> float:
    """Root mean square difference of the logits, as a share of their deviation."""
    wanted = net(some)
    return float((made(some) - wanted).square().mean().sqrt() / wanted.std(0).mean())
