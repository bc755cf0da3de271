"""The graph that runs, its integer layers opened: each adds what it is told to its sums before they are rounded.

The sums themselves are exact on every CPU: weights are moved by 128 to unsigned ones, whose kernels add in 32 bits.
"""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tdq_core.compression.quantize.saturation.running import KINDS, IntegerLayer

LEVELS = 255


def addend(layer: IntegerLayer) -> str:
    """The input of the opened graph that is added to a layer's sums, int32."""
    return f"{layer.y}/lost"


def opened(proto: ModelProto, layers: list[IntegerLayer]) -> ModelProto:
    """A copy of `proto` that computes what it computed, where all that is added is zero."""
    found = ModelProto()
    found.CopyFrom(proto)
    by_output = {layer.y: layer for layer in layers}
    constants = {t.name: t for t in proto.graph.initializer}
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        layer = by_output.get(node.output[0])
        nodes += _parts(layer, constants, found) if layer else [node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    added = [helper.make_tensor_value_info(addend(layer), TensorProto.INT32, None) for layer in layers]
    found.graph.input.extend(added)
    return found


def _parts(layer: IntegerLayer, constants: dict[str, TensorProto], found: ModelProto) -> Iterator[NodeProto]:
    """The layer as operators of the standard: integer sums, what is added, scale, and rounding where it has one."""
    node, at, y = layer.node, KINDS[layer.node.op_type], layer.y
    beside = (1, -1, *[1] * len(layer.window.kernel)) if layer.window else (-1,)

    def constant(suffix: str, values: np.ndarray) -> str:
        found.graph.initializer.append(numpy_helper.from_array(values, f"{y}/{suffix}"))
        return f"{y}/{suffix}"

    def given(place: int | None) -> np.ndarray | None:
        name = node.input[place] if place is not None and place < len(node.input) else ""
        return numpy_helper.to_array(constants[name]) if name else None

    moved = (numpy_helper.to_array(constants[layer.weight]).astype(np.int16) + 128).astype(np.uint8)
    weights = constant("unsigned", np.ascontiguousarray(moved.T) if _turned(node) else moved)
    kind = "ConvInteger" if layer.window else "MatMulInteger"
    fed = [layer.x, weights, node.input[at.x_zero], constant("moved", np.array(128, np.uint8))]
    sums = helper.make_node(kind, fed, [f"{y}/sums"])
    sums.attribute.extend(node.attribute if layer.window else ())
    yield sums
    yield helper.make_node("Add", [f"{y}/sums", addend(layer)], [last := f"{y}/as_added"])
    bias = given(at.bias)
    if bias is not None and bias.dtype == np.int32:
        yield helper.make_node("Add", [last, constant("bias", bias.reshape(beside))], [last := f"{y}/biased"])
    yield helper.make_node("Cast", [last], [f"{y}/float"], to=TensorProto.FLOAT)
    scale = constant("scale", layer.scale.reshape(beside))
    plain = bias if bias is not None and bias.dtype == np.float32 else None
    scaled = y if plain is None and not layer.rounded else f"{y}/scaled"
    yield helper.make_node("Mul", [f"{y}/float", scale], [scaled])
    if plain is not None:
        yield helper.make_node("Add", [scaled, constant("bias", plain)], [y])
    if layer.rounded:
        zero = given(at.y_zero)
        offset = 0.0 if zero is None else float(zero.item())
        ends = [constant("low", _float(-offset)), constant("high", _float(LEVELS - offset))]
        yield helper.make_node("Clip", [scaled, *ends], [f"{y}/clipped"])
        yield helper.make_node("Round", [f"{y}/clipped"], [f"{y}/whole"])
        yield helper.make_node("Add", [f"{y}/whole", constant("zero", _float(offset))], [f"{y}/moved_back"])
        yield helper.make_node("Cast", [f"{y}/moved_back"], [y], to=TensorProto.UINT8)


def _float(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _turned(node: NodeProto) -> bool:
    """Whether the weights of a product lie as (N, K)."""
    return any(a.name == "transB" and a.i for a in node.attribute)
