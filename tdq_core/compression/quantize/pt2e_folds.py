"""Batch norms that PT2E would fold wrongly, kept from it: it looks at what a norm takes and at nothing else."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

aten = torch.ops.aten

NORMS = (aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default)
LAYERS = ("aten.conv", "aten.linear")
TRANSPOSED = "aten.conv_transpose"


def keep_wrong_folds_apart(graph: GraphModule) -> None:
    """Put a copy between a layer and its norm, in place, wherever the norm may not be folded into the layer.

    PT2E folds a norm into the convolution or linear layer that it takes, whoever else takes that layer's output, uses
    its weight or its bias; it folds a second norm into nothing, and stops at a norm without running statistics or at a
    weight that is computed. A norm that takes a copy stays a norm, in float32.
    """
    uses = Counter(key for node in _constants(graph) for key in [_place(graph, node)] for _ in node.users)
    for norm in [node for node in graph.graph.nodes if node.target in NORMS]:
        layer = norm.args[0]
        if str(layer.target).startswith(LAYERS) and not _may_fold(graph, layer, norm, uses):
            with graph.graph.inserting_before(norm):
                copied = graph.graph.call_function(aten.clone.default, (layer,))
            copied.meta = {
                "val": layer.meta["val"]
            }  # not where it comes from: the quantizer would take it for the layer
            norm.replace_input_with(layer, copied)
    graph.recompile()


def _may_fold(graph: GraphModule, layer: Node, norm: Node, uses: Counter[int]) -> bool:
    """Whether `norm` alone takes the output of `layer`, which alone uses its weight and bias; all of them constants."""
    weight, *bias = [each for each in layer.args[1:3] if each is not None]
    statistics = norm.args[3:5]
    constants = [weight, *bias, *statistics, *(each for each in norm.args[1:3] if each is not None)]
    if list(layer.users) != [norm] or not all(isinstance(c, Node) and c.op == "get_attr" for c in constants):
        return False
    if norm.target is NORMS[0] and norm.args[5]:  # it normalises by the statistics of the batch
        return False
    alone = all(uses[_place(graph, each)] == 1 for each in (weight, *bias))
    return alone and _channels(graph, layer) == len(_tensor(graph, statistics[0]))


def _channels(graph: GraphModule, layer: Node) -> int:
    """Along the axis of the weight that PT2E multiplies; 0 where the norm's channels are another axis of the output."""
    weight: Tensor = _tensor(graph, layer.args[1])
    if str(layer.target).startswith("aten.linear") and layer.meta["val"].ndim > 2:
        return 0
    channels: int = weight.shape[1 if str(layer.target).startswith(TRANSPOSED) else 0]
    return channels


def _constants(graph: GraphModule) -> list[Node]:
    return [node for node in graph.graph.nodes if node.op == "get_attr" and isinstance(_tensor(graph, node), Tensor)]


def _place(graph: GraphModule, node: Any) -> int:
    """Where the constant lies in memory: a weight that is tied has several names and one place."""
    place: int = _tensor(graph, node).untyped_storage().data_ptr()
    return place


def _tensor(graph: GraphModule, node: Any) -> Any:
    owner, _, name = str(node.target).rpartition(".")
    return getattr(graph.get_submodule(owner), name)
