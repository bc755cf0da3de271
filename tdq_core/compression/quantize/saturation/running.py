"""What ONNX Runtime makes of an int8 file before it runs it, and which of its operators saturate.

Whether a convolution runs in integers is decided by the runtime, which fuses what the file rounds before and after it.
So the runtime is asked: the graph that it runs is written down by itself and read back.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from tdq_core.compression.quantize.onnx_session import ERRORS_ONLY
from tdq_core.compression.quantize.saturation.pairs import Lost, RiskyPair, lost, risky_pairs
from tdq_core.compression.quantize.saturation.windows import Window, of_convolution, of_product
from tdq_core.compression.quantize.scheme import REDUCED_INT8_LIMIT
from tdq_core.errors import RunFailed
from tdq_core.system.leftovers import temporary_folder


class Inputs(NamedTuple):
    """Where an operator has its inputs; None: nowhere."""

    x: int
    x_scale: int
    x_zero: int
    w: int
    w_scale: int
    w_zero: int
    bias: int | None
    y_scale: int | None
    y_zero: int | None


KINDS = {
    "QLinearConv": Inputs(0, 1, 2, 3, 4, 5, 8, 6, 7),
    "QGemm": Inputs(0, 1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": Inputs(0, 1, 2, 3, 4, 5, None, 6, 7),
    "MatMulIntegerToFloat": Inputs(0, 2, 4, 1, 3, 5, 6, None, None),
}
"""Operators that multiply unsigned activations by signed weights."""
_NAME = re.compile(r"(?:\.weight)?(?:_quantized)?$")


@dataclass(frozen=True)
class IntegerLayer:
    """An operator whose kernel adds products in pairs.

    Attributes:
        name: the layer's, as its weights are named; weight: of its constant in the file.
        node: as the runtime has it.
        weights: (G, N / G, K) int8, in the order of the kernel: G groups.
        risky: pairs that can saturate, for each group.
        window: of a convolution; None: a matrix product.
        zero: of the activations; scale: (N,) or (1,) float32, of a sum in units of the activations that are given.
    """

    name: str
    weight: str
    node: NodeProto
    weights: np.ndarray
    risky: tuple[list[RiskyPair], ...]
    window: Window | None
    zero: int
    scale: np.ndarray

    @property
    def x(self) -> str:
        """The name of its activations."""
        return self.node.input[KINDS[self.node.op_type].x]

    @property
    def y(self) -> str:
        """The name of its output."""
        return self.node.output[0]

    @property
    def rounded(self) -> bool:
        """Whether it gives integers, not floats."""
        place = KINDS[self.node.op_type].y_scale
        return place is not None and len(self.node.input) > place and bool(self.node.input[place])

    @property
    def in_seven_bits(self) -> bool:
        """Whether its weights are so small that nothing saturates, in whatever order pairs are taken."""
        return int(np.abs(self.weights.astype(np.int16)).max(initial=0)) <= REDUCED_INT8_LIMIT

    def lost(self, x: np.ndarray) -> Lost | None:
        """What its sums lose on the activations x uint8, shaped as its output; None: nothing."""
        n = self.weights.shape[1]
        if not any(self.risky):
            return None
        if self.window is None:
            found = lost(self.risky[0], of_product(x), n)
            return found and Lost(found.sums.T.reshape(*x.shape[:-1], n), found.pairs)
        padded = self.window.padded(x, self.zero)
        per, sizes = x.shape[1] // len(self.risky), self.window.outputs(padded.shape[2:])
        sums, pairs = np.zeros((len(x), n * len(self.risky), *sizes), np.int32), 0
        for group, risky in enumerate(self.risky):
            channels = range(group * per, (group + 1) * per)
            if found := lost(risky, of_convolution(padded, self.window, channels), n):
                sums[:, group * n : (group + 1) * n] = found.sums.reshape(n, len(x), *sizes).swapaxes(0, 1)
                pairs += found.pairs
        return Lost(sums, pairs) if pairs else None


def as_run(path: Path) -> ModelProto:
    """The graph that ONNX Runtime makes of a file, operators fused, before it lays anything out for this CPU."""
    with temporary_folder() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(folder / "as_run.onnx")
        options.log_severity_level = ERRORS_ONLY
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(folder / "as_run.onnx")


def integer_layers(proto: ModelProto) -> list[IntegerLayer]:
    """The operators that saturate, in the order in which they run; RunFailed: there are some that are not known here.

    Depthwise convolutions are none: their kernels widen each product before they add.
    """
    constants = {t.name: t for t in proto.graph.initializer}
    signed = {n for n, t in constants.items() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1}
    found = []
    for node in proto.graph.node:
        own = [name for name in node.input if name in signed]
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise _unknown(node, "has a graph within")
        if not own or node.op_type == "DequantizeLinear":
            continue
        if node.op_type not in KINDS:
            raise _unknown(node, f"multiplies by {own[0]}")
        weights = numpy_helper.to_array(constants[own[0]])
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "QLinearConv" and weights.shape[1] == 1 and len(weights) == attributes.get("group", 1):
            continue
        found.append(_layer(node, own[0], weights, attributes, constants))
    return found


def _layer(
    node: NodeProto, weight: str, weights: np.ndarray, attributes: dict[str, Any], constants: dict[str, Any]
) -> IntegerLayer:
    at = KINDS[node.op_type]

    def constant(place: int | None) -> np.ndarray | None:
        name = node.input[place] if place is not None and place < len(node.input) else ""
        if name and name not in constants:
            raise _unknown(node, f"takes '{name}', which is no constant")
        return numpy_helper.to_array(constants[name]) if name else None

    zeros = constant(at.x_zero), constant(at.w_zero)
    if zeros[0] is None or zeros[0].dtype != np.uint8 or (zeros[1] is not None and zeros[1].any()):
        raise _unknown(node, "has signed activations, or weights with a zero point")
    window, ordered = None, weights
    if node.op_type == "QLinearConv":
        window = _window(weights.shape[2:], attributes)
        ordered = np.moveaxis(weights, 1, -1).reshape(attributes.get("group", 1), -1, weights[0].size)
    elif weights.ndim != 2 or attributes.get("transA", 0):
        raise _unknown(node, f"has weights of {weights.ndim} dimensions")
    else:
        ordered = (weights if attributes.get("transB", 0) else weights.T)[None]
    x_scale, w_scale, y_scale = (constant(place) for place in (at.x_scale, at.w_scale, at.y_scale))
    assert x_scale is not None and w_scale is not None, "no operator goes without"
    scale = np.float32(attributes.get("alpha", 1.0)) * x_scale.ravel() * w_scale.ravel()
    if y_scale is not None:
        scale = scale / y_scale.ravel()
    risky = tuple(risky_pairs(group) for group in ordered)
    name = _NAME.sub("", weight)
    return IntegerLayer(name, weight, node, ordered, risky, window, int(zeros[0].item()), scale.astype(np.float32))


def _window(kernel: tuple[int, ...], attributes: dict[str, Any]) -> Window:
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    ones, none = [1] * len(kernel), [0] * 2 * len(kernel)
    pads = None if auto.startswith("SAME") else tuple(attributes.get("pads", none) if auto != "VALID" else none)
    strides, dilations = (tuple(attributes.get(key, ones)) for key in ("strides", "dilations"))
    return Window(kernel, strides, dilations, pads, auto)


def _unknown(node: NodeProto, why: str) -> RunFailed:
    return RunFailed(
        f"The file's operator {node.op_type} {why}: what it computes on a CPU without VNNI is not known here; files "
        "that TDQ writes at int8 have none of these."
    )
