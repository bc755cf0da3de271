"""ONNX Runtime sessions on the CPU."""

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from tdq_core.compression.quantize.artefact import Predict

ERRORS_ONLY = 3


def session_predict(graph: Path | bytes, threads: int, *, literally: bool = False) -> Predict:
    """A function that runs the graph, which has one input and one output, from a file or its bytes.

    `literally`: operator by operator as the graph has them, nothing fused; slow.
    """
    session = open_session(graph, threads, literally=literally)
    name = session.get_inputs()[0].name

    def predict(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {name: images.detach().contiguous().numpy()})
        return torch.from_numpy(logits)

    return predict


def open_session(graph: Path | bytes, threads: int, *, literally: bool = False) -> onnxruntime.InferenceSession:
    """A session of a graph; `literally` as in `session_predict`."""
    options = onnxruntime.SessionOptions()
    if literally:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    # between calls the threads sleep: spinning ones would slow whatever torch does next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
