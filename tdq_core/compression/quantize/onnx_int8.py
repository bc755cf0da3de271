"""int8 for ONNX Runtime: a QDQ graph, activations per tensor with min-max ranges."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import load_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from tdq_core.compression.quantize.artefact import Artefact, Predict, Request, artefact
from tdq_core.compression.quantize.calibration import calibration_chunks
from tdq_core.compression.quantize.failures import failing_as_run_failed
from tdq_core.compression.quantize.fold import left_note
from tdq_core.compression.quantize.left_in_float import left_in_float, left_in_float_note
from tdq_core.compression.quantize.onnx_compact import compact
from tdq_core.compression.quantize.onnx_export import INPUT, export_onnx
from tdq_core.compression.quantize.onnx_proof import on_stored_weights, require_ranges, without_rounding
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.onnx_version import told, write_for_oldest
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.third_party_noise import quiet
from tdq_core.graph.agreement import lossy_check, require_rounding, require_same
from tdq_core.specs.precision import Precision

CHUNK_VALUES = 2**19
"""Input values of a calibration step: 3 images of 224 px, 170 of 32 px. Calibration sessions keep every activation
of a step (ResNet-50: 4 GB with 16 images, 1.7 GB with 3)."""


WAY_OUT = "run it at fp32 or fp16"


class _Reader(CalibrationDataReader):
    """Feeds the calibration images of a request and counts them."""

    def __init__(self, request: Request) -> None:
        self._chunks: Iterator[np.ndarray] = (
            chunk.numpy() for chunk in calibration_chunks(request, values=CHUNK_VALUES)
        )
        self.images = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        chunk = next(self._chunks, None)
        if chunk is None:
            return None
        self.images += len(chunk)
        return {INPUT: chunk}


def onnx_int8(model: nn.Module, request: Request, precision: Precision) -> Artefact:
    """The exported graph, batch norms folded, quantized with the calibration images of `request`.

    InputError: no calibration images. RunFailed: the quantizer cannot take this graph, or a part of what it wrote is
    not what it stands for; see `_checks`.
    """
    path = request.folder / "model.int8.onnx"
    scheme = request.scheme(precision)
    reader = _Reader(request)
    with tempfile.TemporaryDirectory(dir=request.folder) as folder:
        export = export_onnx(model, Path(folder) / "fp32.onnx", request)
        with quiet(), failing_as_run_failed("Quantizing with ONNX Runtime", WAY_OUT):
            floats = _folded(export.path)
            kept = _quantize(floats, path, reader, scheme)
        checks = _checks(model, floats, path, request)
    quantized = onnx.load(path)
    compact(quantized)
    write_for_oldest(quantized, request.opset)
    onnx.save(quantized, path)
    predict = session_predict(path, request.session_threads)
    details = (
        export.details
        | told(quantized)
        | {
            "quantizer": "onnxruntime.quantization.quantize_static",
            "format": "QDQ",
            "per_channel": scheme.granularity == "channel",
            "reduce_range": scheme.reduced,
            "activations": scheme.activations_text,
            "weights": scheme.weights_text,
            "threads": request.session_threads,
            "calibration_images": reader.images,
            "batch_norms_left": (norms := _batch_norms(path)),
            "numbers_by_type": _initializers_by_type(quantized),
            "left_in_fp32": (left := _left(quantized)),
            **checks,
            "precision_check": lossy_check(model, predict, request.example),
        }
    )
    notes = (*export.notes, *left_note(norms), *left_in_float_note(left), *_kept_note(kept))
    return artefact(path, predict, details=details, notes=notes)


def _quantize(folded: Path, path: Path, reader: _Reader, scheme: Scheme) -> list[str]:
    """Write the quantized graph, beside the float one the ranges it is made from; names of the nodes kept in floats."""
    per_channel = scheme.granularity == "channel"
    kept = _grouped_transposed(onnx.load(folded)) if per_channel else []
    # CalibMaxIntermediateOutputs stays unset: with it, batches are dropped before their ranges are read, and what
    # is kept without it are two numbers a tensor and batch
    quantize_static(
        folded,
        path,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        reduce_range=scheme.reduced,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=kept,
        calibration_cache_path=_ranges_of(folded),
    )
    return kept


def _checks(model: nn.Module, folded: Path, path: Path, request: Request) -> dict[str, Any]:
    """The float graph against the model, the file's weights and graph against the float graph, its activation grids
    against the calibration images, and the kernels that run it against the same rounding operator by operator."""
    floats, quantized = onnx.load(folded), onnx.load(path)

    def running(proto: ModelProto) -> Predict:
        return session_predict(proto.SerializeToString(), request.session_threads, literally=True)

    example = request.example
    float_check = require_same(
        model, running(floats), example,
        what="The float graph that int8 is made from is not the model, before anything is rounded", way_out=WAY_OUT,
    )  # fmt: skip
    unrounded = without_rounding(quantized, floats)
    exact = running(unrounded)
    weights_check = require_same(
        running(on_stored_weights(floats, unrounded)), exact, example,
        what="The int8 graph without the rounding of activations is not the float graph on its weights",
        way_out=WAY_OUT,
    )  # fmt: skip
    calibrated = load_tensors_data(_ranges_of(folded))
    ranges = {name: (data.range_value[0].item(), data.range_value[1].item()) for name, data in calibrated.items()}
    return {
        "float_check": float_check,
        "weights_check": weights_check,
        "activations_rounded": require_ranges(quantized, ranges),
        "rounding_check": require_rounding(
            exact, running(quantized), session_predict(path, request.session_threads), example, way_out=WAY_OUT
        ),
    }


def _ranges_of(folded: Path) -> Path:
    return folded.with_suffix(".ranges")


def _grouped_transposed(proto: ModelProto) -> list[str]:
    """Transposed convolutions in groups: their weights have the output channels of one group along an axis, which a
    scale for each output channel does not fit."""
    return [
        node.name
        for node in proto.graph.node
        if node.op_type == "ConvTranspose" and any(a.name == "group" and a.i > 1 for a in node.attribute)
    ]


def _kept_note(kept: list[str]) -> tuple[str, ...]:
    if not kept:
        return ()
    return (
        f"Transposed convolutions in groups have no scale per output channel here: {', '.join(kept)} stay in fp32; "
        "with one scale per tensor ('granularity' tensor) they are quantized.",
    )


def _folded(source: Path) -> Path:
    """The graph with constants and batch norms folded; what the first pass turned into constants, the second folds."""
    folded = source.with_name("folded.onnx")
    quant_pre_process(source, folded, skip_symbolic_shape=True)
    if _batch_norms(folded):
        quant_pre_process(folded, folded, skip_symbolic_shape=True)
    return folded


def _batch_norms(path: Path) -> int:
    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)


def _initializers_by_type(proto: ModelProto) -> dict[str, int]:
    """How many numbers the file holds of each type."""
    counts: dict[str, int] = {}
    for tensor in proto.graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        counts[name] = counts.get(name, 0) + int(np.prod(tensor.dims, dtype=np.int64))
    return counts


def _left(proto: ModelProto) -> dict[str, int]:
    return left_in_float({t.name: torch.tensor(numpy_helper.to_array(t)) for t in proto.graph.initializer})
