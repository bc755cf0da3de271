"""The table of realisations."""

from collections.abc import Callable

from torch import nn

from tdq_core.quantize.artefact import Artefact, Request
from tdq_core.quantize.onnx_float import onnx_fp16, onnx_fp32
from tdq_core.quantize.onnx_int8 import onnx_int8
from tdq_core.quantize.torch_float import torch_fp16, torch_fp32
from tdq_core.quantize.torch_int8 import torch_int8
from tdq_core.specs import BACKENDS, PRECISIONS, require_choice

REALISATIONS: dict[tuple[str, str], Callable[[nn.Module, Request], Artefact]] = {
    ("fp32", "torch"): torch_fp32,
    ("fp16", "torch"): torch_fp16,
    ("int8", "torch"): torch_int8,
    ("fp32", "onnxruntime"): onnx_fp32,
    ("fp16", "onnxruntime"): onnx_fp16,
    ("int8", "onnxruntime"): onnx_int8,
}


def realise(model: nn.Module, precision: str, backend: str, *, request: Request) -> Artefact:
    """Write `model` at `precision` as a file that `backend` runs, and give the function that runs it.

    `model` is in eval mode, made of plain layers in float32 on the CPU, batch norms not folded; it is not changed,
    and the fp32 artefact of torch runs it as it is.

    Raises:
        InputError: an unknown precision or backend, or int8 without calibration images.
        Refused: a value of the model does not fit in fp16.
        RunFailed: an exported file does not compute what the model computes, or its logits are not finite.
    """
    require_choice("precision", precision, PRECISIONS)
    require_choice("backend", backend, BACKENDS)
    request.folder.mkdir(parents=True, exist_ok=True)
    return REALISATIONS[precision, backend](model, request)
