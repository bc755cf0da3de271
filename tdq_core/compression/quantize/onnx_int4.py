"""Simulated 4-bit weights for ONNX Runtime: the packed file's own integers, as INT4, behind DequantizeLinear.

ONNX has 4-bit integers from opset 21 on (ONNX 1.16). Weights are found and rounded as for torch; the float graph of the
network on those weights is exported and compared, and then its constants become integers: INT4, and INT8 where they
have more bits, as at both ends. Activations of 8 bits are rounded before each layer by QuantizeLinear. The runtime
multiplies floats.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter
from torch import nn

from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.compression.quantize.fold import folded
from tdq_core.compression.quantize.left_in_float import left_in_float, left_in_float_note
from tdq_core.compression.quantize.onnx_compact import compact
from tdq_core.compression.quantize.onnx_export import export_onnx
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.onnx_version import told, write_for_oldest
from tdq_core.compression.quantize.simulated_file import Simulated, load_simulated
from tdq_core.compression.quantize.simulated_layers import running
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.compression.quantize.torch_simulated import torch_simulated
from tdq_core.compression.quantize.weight_grid import RoundedWeight
from tdq_core.errors import RunFailed
from tdq_core.graph.agreement import Predict, require_rounding, require_same
from tdq_core.specs.precision import Precision

OPSET = 21
WAY_OUT = "run it with the backend 'torch'"
INT4_NOTE = (
    "Weights are INT4 in the file ({others}), activations are {activations}; ONNX Runtime multiplies floats: size and "
    "accuracy are valid, and 4 bits make nothing faster."
)
_ENDS = "INT8 in the first convolution and the last layer"
MULTIPLY = ("Conv", "Gemm", "MatMul")


def onnx_int4(model: nn.Module, request: Request, precision: Precision) -> Artefact:
    """The network of simulated bits as an ONNX file, see above.

    Raises:
        RunFailed: the graph does not compute what the simulation computes, or a weight is not found in it; and as
            `torch_simulated`.
    """
    path = request.folder / f"model.{precision.name}.onnx"
    with tempfile.TemporaryDirectory(dir=request.folder) as folder:
        simulated = torch_simulated(model, dataclasses.replace(request, folder=Path(folder)), precision)
        stored = load_simulated(simulated.path)
        plain, _ = folded(model, request.example)
        weights_only = running(plain, dataclasses.replace(stored, activations={}))
        export = export_onnx(weights_only, Path(folder) / "fp32.onnx", request)
        proto = version_converter.convert_version(onnx.load(export.path), OPSET)
    _put_integers(proto, stored)
    exact = session_predict(proto.SerializeToString(), request.session_threads)
    weights_check = require_same(module_predict(weights_only), exact, request.example,
                                 what="The INT4 graph is not the network on its weights", way_out=WAY_OUT)  # fmt: skip
    _round_inputs(proto, stored)
    compact(proto)
    write_for_oldest(proto, OPSET)
    onnx.save(proto, path)
    predict = session_predict(path, request.session_threads)
    details = (
        dict(simulated.details)
        | export.details
        | told(proto)
        | {
            "kernels": "ONNX Runtime, floats behind DequantizeLinear",
            "opset": OPSET,
            "threads": request.session_threads,
            "numbers_by_type": _numbers_by_type(proto),
            "left_in_fp32": (left := _left(proto)),
            "weights_check": weights_check,
            "rounding_check": _as_simulated(stored, simulated.predict, exact, predict, request),
        }
    )
    activations = "rounded to 8 bits before each layer" if stored.activations else "floats"
    replaced = (simulated.notes[0], *left_in_float_note(simulated.details["left_in_fp32"]))
    kept = [note for note in simulated.notes if note not in replaced]
    others = "those of 5 to 8 bits INT8; fewer bits than 4 save nothing there" if request.bits else _ENDS
    notes = (INT4_NOTE.format(activations=activations, others=others), *kept, *export.notes, *left_in_float_note(left))
    return artefact(path, predict, details=details, notes=notes)


def _as_simulated(
    stored: Simulated, simulated: Predict, exact: Predict, got: Predict, request: Request
) -> Mapping[str, float | int]:
    """How far the file is from the simulation in torch; RunFailed where it is something else."""
    if not stored.activations:
        return require_same(simulated, got, request.example, what="The INT4 file is not the simulation",
                            way_out=WAY_OUT)  # fmt: skip
    return require_rounding(exact, simulated, got, request.example, way_out=WAY_OUT)


def _put_integers(proto: ModelProto, stored: Simulated) -> None:
    """Each weight of `stored` as integers behind DequantizeLinear, in place; RunFailed where one is not there."""
    graph = proto.graph
    for name, weight in stored.weights.items():
        constant, turned = _constant_of(proto, name, weight)
        graph.initializer.remove(constant)
        integers = weight.integers.numpy()
        whole = f"{name}.integers"
        graph.initializer.append(_integers(whole, integers.T if turned else integers, weight.bits))
        channels = weight.scale.numel() > 1
        scale = weight.scale.numpy() if channels else weight.scale.numpy().reshape(())
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        back = helper.make_node("DequantizeLinear", [whole, f"{name}.scale"], [constant.name])
        if channels:
            back.attribute.append(helper.make_attribute("axis", 1 if turned else 0))
        graph.node.insert(0, back)


def _integers(name: str, values: np.ndarray, bits: int) -> TensorProto:
    """INT4, two in a byte and the first of them below, where they have so few bits; else INT8."""
    if bits > 4:
        return numpy_helper.from_array(np.ascontiguousarray(values), name)
    halves = np.append(values.flatten(), np.zeros(values.size % 2, np.int8)).view(np.uint8) & 0xF
    packed = halves[0::2] | halves[1::2] << 4
    return helper.make_tensor(name, TensorProto.INT4, values.shape, packed.tobytes(), raw=True)


def _constant_of(proto: ModelProto, name: str, weight: RoundedWeight) -> tuple[TensorProto, bool]:
    """The constant that holds the weight of the layer `name`, and whether it is transposed there."""
    wanted = weight.to_weight().numpy()
    found = sorted(proto.graph.initializer, key=lambda tensor: tensor.name != f"{name}.weight")
    for tensor in found:
        if tensor.data_type != TensorProto.FLOAT or sorted(tensor.dims) != sorted(wanted.shape):
            continue
        values = numpy_helper.to_array(tensor)
        if values.shape == wanted.shape and np.array_equal(values, wanted):
            return tensor, False
        if values.ndim == 2 and values.T.shape == wanted.shape and np.array_equal(values.T, wanted):
            return tensor, True
    raise RunFailed(f"The exported graph does not hold the weight of the layer '{name}' as a constant: {WAY_OUT}.")


def _round_inputs(proto: ModelProto, stored: Simulated) -> None:
    """QuantizeLinear and DequantizeLinear before every layer whose input is rounded, in place."""
    givers = {f"{name}.integers": name for name in stored.activations}
    weights = {node.output[0]: givers[node.input[0]] for node in proto.graph.node if node.input[0] in givers}
    calls: dict[str, int] = {}
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        layer = next((weights[i] for i in node.input if i in weights), None) if node.op_type in MULTIPLY else None
        if layer is not None:
            grids = stored.activations[layer]
            call = calls[layer] = calls.get(layer, -1) + 1
            nodes += _rounded_input(proto, node, f"{layer}.{call}", grids[min(call, len(grids) - 1)])
        nodes.append(node)
    if missing := sorted(set(stored.activations) - calls.keys()):
        raise RunFailed(f"The exported graph multiplies no input with the weight of {', '.join(missing)}: {WAY_OUT}.")
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _rounded_input(proto: ModelProto, node: NodeProto, name: str, grid: ActivationGrid) -> list[NodeProto]:
    scale, zero = f"{name}.input.scale", f"{name}.input.zero"
    proto.graph.initializer.extend([
        numpy_helper.from_array(np.array(grid.scale, np.float32), scale),
        numpy_helper.from_array(np.array(grid.zero_point, np.uint8), zero),
    ])  # fmt: skip
    rounded, back = f"{name}.input.rounded", f"{name}.input"
    made = [helper.make_node("QuantizeLinear", [node.input[0], scale, zero], [rounded]),
            helper.make_node("DequantizeLinear", [rounded, scale, zero], [back])]  # fmt: skip
    node.input[0] = back
    return made


def _numbers_by_type(proto: ModelProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor in proto.graph.initializer:
        kind = TensorProto.DataType.Name(tensor.data_type).lower()
        counts[kind] = counts.get(kind, 0) + int(np.prod(tensor.dims, dtype=np.int64))
    return counts


def _left(proto: ModelProto) -> dict[str, int]:
    floats = [t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT]
    return left_in_float({t.name: torch.tensor(numpy_helper.to_array(t)) for t in floats})
