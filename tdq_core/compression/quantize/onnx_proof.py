"""Proof of an int8 graph: without the rounding of activations it is the float graph on rounded weights.

Rounding of activations hides errors: two right realisations may differ by as much as either differs from floats. So
each part is proven where it is exact: the weights against their grids, the ranges against the calibration images, and
the graph with all rounding of activations taken out. What is left is the kernels, see `onnx_int8`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from tdq_core.errors import RunFailed

Q, DQ = "QuantizeLinear", "DequantizeLinear"
LEVELS = 255
SLACK = 1e-3
"""Of half a step: quotients of float32 numbers."""

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Stored:
    """A constant of the file: integers and their grid, back in float32 of the same shape.

    Attributes:
        step: of the grid, broadcast to the shape.
    """

    values: np.ndarray
    step: np.ndarray


def without_rounding(quantized: ModelProto, floats: ModelProto) -> ModelProto:
    """A copy of `quantized` in which activations pass unrounded; an activation function that the quantizer dropped,
    since the grid itself ends at zero, is back."""
    proto = ModelProto()
    proto.CopyFrom(quantized)
    rounded = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == Q}
    for node in proto.graph.node:
        if node.op_type == DQ and node.input[0] in rounded:
            node.CopyFrom(helper.make_node("Identity", [rounded[node.input[0]]], list(node.output)))
    _restore_activations(proto.graph, floats.graph)
    return proto


def on_stored_weights(floats: ModelProto, unrounded: ModelProto) -> ModelProto:
    """A copy of the float graph with the constants of the file, each within half a step of what it was.

    Args:
        unrounded: see `without_rounding`; its operators are paired with those of the float graph by what they give.

    RunFailed: a constant is further away, its steps are larger than one grid for the whole weight would need, or it
    has no counterpart.
    """
    proto = ModelProto()
    proto.CopyFrom(floats)
    stored = _stored(unrounded.graph)
    constants = {t.name: numpy_helper.to_array(t) for t in floats.graph.initializer}
    operators = {node.output[0]: node for node in proto.graph.node}
    unpaired = set(stored)
    for node in unrounded.graph.node:
        operator = operators.get(_own_name(node.output[0]))
        if operator is None:
            continue
        for place, name in enumerate(node.input):
            if name in stored and operator.input[place] in constants:
                _require_near(operator.input[place], constants[operator.input[place]], stored[name])
                operator.input[place] = name
                unpaired.discard(name)
    if unpaired:
        raise RunFailed(f"The int8 graph has constants that the float graph lacks: {', '.join(sorted(unpaired))}.")
    proto.graph.initializer.extend(numpy_helper.from_array(each.values, name) for name, each in stored.items())
    return proto


def require_ranges(quantized: ModelProto, ranges: Ranges) -> int:
    """How many activations are rounded, each on a grid that holds what calibration images gave; RunFailed: not."""
    constants = {t.name: t for t in quantized.graph.initializer}
    rounded = [node for node in quantized.graph.node if node.op_type == Q and node.input[0] not in constants]
    for node in rounded:
        scale, zero_point = (float(numpy_helper.to_array(constants[name]).item()) for name in node.input[1:3])
        name = _own_name(node.input[0])
        low, high = ranges.get(name, (0.0, 0.0))
        if low < -(zero_point + 1) * scale or high > (LEVELS - zero_point + 1) * scale:
            raise RunFailed(
                f"The int8 grid of '{name}' ends at {-zero_point * scale:.4g} and {(LEVELS - zero_point) * scale:.4g}, "
                f"but the calibration images reach {low:.4g} and {high:.4g}: run it at fp32 or fp16."
            )
    return len(rounded)


def _own_name(name: str) -> str:
    """Of a tensor in the float graph: the quantizer renames what it rounds on its way out."""
    return name.removesuffix("_QuantizeLinear_Input")


def _stored(graph: GraphProto) -> dict[str, Stored]:
    """The quantized constants by the names that they are used by."""
    constants = {t.name: t for t in graph.initializer}
    quantized = [node for node in graph.node if node.op_type == DQ and node.input[0] in constants]
    return {node.output[0]: _read(node, constants) for node in quantized}


def _read(node: NodeProto, constants: Mapping[str, object]) -> Stored:
    integers, scale, *rest = (numpy_helper.to_array(constants[name]) for name in node.input if name)  # type: ignore[arg-type]
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [1] * integers.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    scale, zero = scale.reshape(shape), rest[0].reshape(shape) if rest else np.int32(0)
    values = ((integers.astype(np.int64) - zero) * scale.astype(np.float64)).astype(np.float32)
    return Stored(values, np.broadcast_to(scale, integers.shape))


def _require_near(name: str, floats: np.ndarray, stored: Stored) -> None:
    off = np.abs(stored.values.astype(np.float64) - floats)
    allowed = stored.step * (0.5 + SLACK) + np.abs(floats) * np.finfo(np.float32).eps
    steps = stored.step[floats != 0]  # a channel of zeros is as right in steps of 1
    coarse = floats.ndim > 1 and steps.size and steps.max() > np.abs(floats).max() / 63 + np.finfo(np.float32).tiny
    if (off > allowed).any() or coarse:
        raise RunFailed(
            f"The int8 file's '{name}' is up to {off.max():.3g} from the weight that it stands for, in steps of "
            f"{stored.step.max():.3g}: run it at fp32 or fp16."
        )


def _restore_activations(graph: GraphProto, floats: GraphProto) -> None:
    """Put back the activation functions of the float graph whose outputs another operator gives now, with what gives
    them their limits."""
    wanted = {node.output[0]: node for node in floats.node if node.op_type in ("Relu", "Clip")}
    givers = {name: node for node in floats.node for name in node.output}
    constants = {tensor.name: tensor for tensor in floats.initializer}
    known = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    limits: list[NodeProto] = []

    def bring(name: str) -> None:
        if name in constants and name not in known:
            graph.initializer.append(constants[name])
        elif name in givers and name not in known:
            for inner in givers[name].input:
                bring(inner)
            limits.append(givers[name])
        known.add(name)

    nodes = []
    for node in graph.node:
        dropped = wanted.get(node.output[0])
        nodes.append(node)
        if dropped is not None and node.op_type not in ("Identity", dropped.op_type):
            node.output[0] = dropped.input[0]
            nodes.append(dropped)
            for limit in dropped.input[1:]:
                bring(limit)
    kept = [NodeProto.FromString(node.SerializeToString()) for node in (*limits, *nodes)]
    del graph.node[:]
    graph.node.extend(kept)
