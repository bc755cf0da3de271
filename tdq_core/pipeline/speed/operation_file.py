"""An ONNX file of many convolutions and matrix products that do not know each other, to be timed one after the other.

Each has weights of its own and takes noise; all inputs are made of one number, so that the file is small to call. In
int8 each stands between the nodes that quantize and dequantize, as in the files that TDQ writes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tdq_core.pipeline.speed.stages import Operation

OPSET = 20
SEED = 0
INPUT = "number"


def name_of(place: int) -> str:
    """Of the operation at this place of the file."""
    return f"operation{place}"


def write(operations: Sequence[Operation], path: Path, *, integers: bool) -> None:
    """The file at `path`, in int8 or in float32."""
    made = _Graph(integers)
    for place, operation in enumerate(operations):
        made.add(name_of(place), operation)
    onnx.save(made.model(), path)


class _Graph:
    def __init__(self, integers: bool) -> None:
        self.integers, self.random = integers, np.random.default_rng(SEED)
        self.kind = TensorProto.UINT8 if integers else TensorProto.FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.kept: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.inputs: dict[tuple[int, ...], str] = {}
        for name, value in {"first": 0, "second": 1, "channels": 1}.items():
            self._keep(name, np.array([value], dtype=np.int64))
        if integers:
            self._keep("scale", np.float32(0.02))
            self._keep("zero", np.uint8(128))

    def add(self, name: str, operation: Operation) -> None:
        shape: tuple[int, ...]
        out: tuple[int, ...]
        if operation.kernel is None:
            shape, out = (operation.size[0], operation.c_in), (operation.size[0], operation.c_out)
        else:
            shape = (operation.images, operation.c_in, *operation.size)
            out = (operation.images, operation.c_out, *operation.out_size)
        taken, weight = self._input(shape), self._weight(f"{name}.weight", operation.weight)
        given = f"{name}.float" if self.integers else f"{name}.out"
        if operation.kernel is None:
            self._node("Gemm", [taken, weight], given, name, transB=1)
        else:
            self._node(
                "Conv", [taken, weight], given, name, group=operation.groups, strides=operation.stride,
                pads=operation.pads, dilations=operation.dilation, kernel_shape=operation.kernel,
            )  # fmt: skip
        if self.integers:
            self._node("QuantizeLinear", [given, "scale", "zero"], f"{name}.out", f"{name}.rounded")
        # what leaves a file lies in new memory at every call, which takes time: one channel is enough
        self._node("Slice", [f"{name}.out", "first", "second", "channels"], f"{name}.one", f"{name}.cut")
        self.outputs.append(helper.make_tensor_value_info(f"{name}.one", self.kind, (out[0], 1, *out[2:])))

    def model(self) -> onnx.ModelProto:
        fed = helper.make_tensor_value_info(INPUT, self.kind, [1])
        graph = helper.make_graph(self.nodes, "operations", [fed], self.outputs, self.kept)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def _input(self, shape: tuple[int, ...]) -> str:
        """Noise of this shape, made anew at every call: what is constant would be computed beforehand."""
        if shape not in self.inputs:
            name = self.inputs[shape] = f"input{len(self.inputs)}"
            self._keep(f"{name}.shape", np.array(shape, dtype=np.int64))
            spread = f"{name}.spread" if self.integers else name
            self._node("Expand", [INPUT, f"{name}.shape"], spread, f"{name}.made")
            if self.integers:
                self._node("DequantizeLinear", [spread, "scale", "zero"], name, f"{name}.read")
        return self.inputs[shape]

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        if not self.integers:
            self._keep(name, self.random.standard_normal(shape, dtype=np.float32))
            return name
        self._keep(f"{name}_quantized", self.random.integers(-127, 128, shape, dtype=np.int8))
        self._keep(f"{name}_scale", np.full(shape[0], 0.01, dtype=np.float32))
        self._keep(f"{name}_zero", np.zeros(shape[0], dtype=np.int8))
        taken = [f"{name}_quantized", f"{name}_scale", f"{name}_zero"]
        self._node("DequantizeLinear", taken, name, f"{name}_read", axis=0)
        return name

    def _keep(self, name: str, values: np.ndarray | np.generic) -> None:
        self.kept.append(numpy_helper.from_array(np.asarray(values), name))

    def _node(self, kind: str, taken: list[str], given: str, name: str, **how: Any) -> None:
        self.nodes.append(helper.make_node(kind, taken, [given], name=name, **how))
