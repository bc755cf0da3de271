"""Operators that stop PT2E's quantizer, written in others that compute the same."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten

PADDED_BY_NAME: dict[Any, Any] = {aten.conv1d.padding: aten.conv1d.default, aten.conv2d.padding: aten.conv2d.default,
                  aten.conv3d.padding: aten.conv3d.default}  # fmt: skip
BINARY = (aten.add.Tensor, aten.add_.Tensor)
SOURCES = ("source_fn_stack", "torch_fn", "nn_module_stack")
"""Where a node says what it was in the model's code; the quantizer looks for its patterns in these."""


def write_plainly(graph: GraphModule) -> None:
    """In place: convolutions whose padding is 'same' or 'valid' say it in numbers; the padding that a convolution does
    before it begins is not taken for the convolution, nor a number that is added for a second tensor."""
    for node in list(graph.graph.nodes):
        if node.target in PADDED_BY_NAME:
            _padded_by_numbers(graph, node)
        elif node.target is aten.pad.default or _adds_a_number(node):
            for source in SOURCES:
                node.meta.pop(source, None)
    graph.recompile()


def _adds_a_number(node: Node) -> bool:
    return node.target in BINARY and not all(isinstance(each, Node) for each in node.args[:2])


def _padded_by_numbers(graph: GraphModule, node: Node) -> None:
    x, weight, bias, stride, padding, dilation, groups = _arguments(node)
    sizes = weight.meta["val"].shape[2:]
    whole = [0 if padding == "valid" else d * (k - 1) for d, k in zip(dilation, sizes, strict=True)]
    if any(each % 2 for each in whole):  # one more at the end: the operator pads both sides alike
        sides = [side for each in reversed(whole) for side in (each // 2, each - each // 2)]
        with graph.graph.inserting_before(node):
            padded = graph.graph.call_function(aten.constant_pad_nd.default, (x, sides))
        padded.meta = {"val": torch.nn.functional.pad(x.meta["val"], sides)}
        x, whole = padded, [0] * len(whole)
    node.target = PADDED_BY_NAME[node.target]
    node.args = (x, weight, bias, stride, [each // 2 for each in whole], dilation, groups)
    node.kwargs = {}


def _arguments(node: Node) -> Sequence[Any]:
    """All seven, with the defaults of those that are left out."""
    dims = node.args[1].meta["val"].ndim - 2  # type: ignore[union-attr]
    named: dict[str, Any] = dict(
        zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), node.args, strict=False)
    )
    named |= node.kwargs

    def each(name: str) -> list[int]:
        given = named.get(name, [1])
        numbers = [given] if isinstance(given, int) else list(given)
        return numbers * (dims if len(numbers) == 1 else 1)

    return (named["input"], named["weight"], named.get("bias"), each("stride"), named.get("padding", "valid"),
            each("dilation"), named.get("groups", 1))  # fmt: skip
