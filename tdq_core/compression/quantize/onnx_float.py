"""fp32 and fp16 for ONNX Runtime."""

import tempfile
from pathlib import Path

import onnx
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.compression.quantize.fp16_range import require_fp16_range
from tdq_core.compression.quantize.onnx_export import export_onnx
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.onnx_version import told, write_for_oldest
from tdq_core.graph.agreement import lossy_check

CPU_NOTE = (
    "FP16 in ONNX Runtime on a CPU: most operators run in fp32 between casts, so size and accuracy are valid "
    "and latency is not meaningful."
)


def onnx_fp32(model: nn.Module, request: Request) -> Artefact:
    """The exported graph, compared with torch; see `export_onnx`."""
    export = export_onnx(model, request.folder / "model.fp32.onnx", request)
    predict = session_predict(export.path, request.session_threads)
    return artefact(
        export.path, predict, details=export.details | {"threads": request.session_threads}, notes=export.notes
    )


def onnx_fp16(model: nn.Module, request: Request) -> Artefact:
    """The exported graph with weights and activations in fp16; images and logits stay float32.

    Refused: a weight does not fit in fp16 (the converter would clip it without a word).
    """
    path = request.folder / "model.fp16.onnx"
    with tempfile.TemporaryDirectory(dir=request.folder) as folder:
        export = export_onnx(model, Path(folder) / "fp32.onnx", request)
        proto, details = onnx.load(export.path), export.details
    require_fp16_range({t.name: numpy_helper.to_array(t) for t in proto.graph.initializer})
    halves = convert_float_to_float16(proto, keep_io_types=True)
    write_for_oldest(halves, request.opset)
    onnx.save(halves, path)
    predict = session_predict(path, request.session_threads)
    details |= told(halves) | {
        "threads": request.session_threads,
        "converter": "onnxruntime.transformers.float16",
        "precision_check": lossy_check(model, predict, request.example),
    }
    return artefact(path, predict, details=details, notes=(*export.notes, CPU_NOTE))
