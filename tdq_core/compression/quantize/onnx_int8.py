"""int8 for ONNX Runtime: a QDQ graph, activations per tensor with min-max ranges."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.compression.quantize.calibration import calibration_chunks
from tdq_core.compression.quantize.failures import failing_as_run_failed
from tdq_core.compression.quantize.fold import left_note
from tdq_core.compression.quantize.onnx_compact import compact
from tdq_core.compression.quantize.onnx_export import INPUT, export_onnx
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.third_party_noise import quiet
from tdq_core.graph.agreement import lossy_check
from tdq_core.specs.precision import Precision

CHUNK_VALUES = 2**19
"""Input values of a calibration step: 3 images of 224 px, 170 of 32 px. Calibration sessions keep every activation
of a step (ResNet-50: 4 GB with 16 images, 1.7 GB with 3)."""


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

    InputError: no calibration images.
    """
    path = request.folder / "model.int8.onnx"
    scheme = request.scheme(precision)
    reader = _Reader(request)
    with tempfile.TemporaryDirectory(dir=request.folder) as folder:
        export = export_onnx(model, Path(folder) / "fp32.onnx", request)
        with quiet(), failing_as_run_failed("Quantizing with ONNX Runtime", "run it at fp32 or fp16"):
            _quantize(export.path, path, reader, scheme)
    predict = session_predict(path, request.session_threads)
    details = export.details | {
        "quantizer": "onnxruntime.quantization.quantize_static",
        "format": "QDQ",
        "per_channel": scheme.granularity == "channel",
        "reduce_range": scheme.reduced,
        "activations": scheme.activations_text,
        "weights": scheme.weights_text,
        "threads": request.session_threads,
        "calibration_images": reader.images,
        "batch_norms_left": (left := _batch_norms(path)),
        "numbers_by_type": _initializers_by_type(path),
        "precision_check": lossy_check(model, predict, request.example),
    }
    return artefact(path, predict, details=details, notes=export.notes + left_note(left))


def _quantize(source: Path, path: Path, reader: _Reader, scheme: Scheme) -> None:
    folded = _folded(source)
    # CalibMaxIntermediateOutputs stays unset: with it, batches are dropped before their ranges are read, and what
    # is kept without it are two numbers a tensor and batch
    quantize_static(
        folded,
        path,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=scheme.granularity == "channel",
        reduce_range=scheme.reduced,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    quantized = onnx.load(path)
    compact(quantized)
    onnx.save(quantized, path)


def _folded(source: Path) -> Path:
    """The graph with constants and batch norms folded; what the first pass turned into constants, the second folds."""
    folded = source.with_name("folded.onnx")
    quant_pre_process(source, folded, skip_symbolic_shape=True)
    if _batch_norms(folded):
        quant_pre_process(folded, folded, skip_symbolic_shape=True)
    return folded


def _batch_norms(path: Path) -> int:
    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)


def _initializers_by_type(path: Path) -> dict[str, int]:
    """How many numbers the file holds of each type."""
    counts: dict[str, int] = {}
    for tensor in onnx.load(path).graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        counts[name] = counts.get(name, 0) + int(np.prod(tensor.dims, dtype=np.int64))
    return counts
