"""The table of realisations."""

import functools
from collections.abc import Callable

from torch import nn

from tdq_core.compression.quantize.artefact import Artefact, Request
from tdq_core.compression.quantize.onnx_float import onnx_fp16, onnx_fp32
from tdq_core.compression.quantize.onnx_int8 import onnx_int8
from tdq_core.compression.quantize.torch_float import torch_fp16, torch_fp32
from tdq_core.compression.quantize.torch_int8 import torch_int8
from tdq_core.compression.quantize.torch_simulated import torch_simulated
from tdq_core.errors import InputError
from tdq_core.specs import BACKENDS, PRECISIONS, SIMULATED, require_choice

REALISATIONS: dict[tuple[str, str], Callable[[nn.Module, Request], Artefact]] = {
    ("fp32", "torch"): torch_fp32,
    ("fp16", "torch"): torch_fp16,
    ("int8", "torch"): torch_int8,
    ("fp32", "onnxruntime"): onnx_fp32,
    ("fp16", "onnxruntime"): onnx_fp16,
    ("int8", "onnxruntime"): onnx_int8,
    **{(bits, "torch"): functools.partial(torch_simulated, precision=bits) for bits in SIMULATED},
}


def realise(model: nn.Module, precision: str, backend: str, *, request: Request) -> Artefact:
    """Write `model` at `precision` as a file that `backend` runs, and give the function that runs it.

    `model` is in eval mode, made of plain layers in float32 on the CPU, batch norms not folded; it is not changed,
    and the fp32 artefact of torch runs it as it is.

    Raises:
        InputError: an unknown precision or backend, simulated bits with onnxruntime, ranges 'mse' without simulated
            bits, or activations to be rounded without calibration images.
        Refused: a value of the model does not fit in fp16.
        RunFailed: an exported file or a folded model does not compute what the model computes, or its logits are not
            finite.
    """
    require_choice("precision", precision, PRECISIONS + SIMULATED)
    require_choice("backend", backend, BACKENDS)
    if (precision, backend) not in REALISATIONS:
        raise InputError(f"Simulated bits such as '{precision}' run with the backend 'torch' only. Got '{backend}'.")
    if request.ranges != "minmax" and precision not in SIMULATED:
        raise InputError(
            f"The ranges '{request.ranges}' are those of simulated bits ({', '.join(SIMULATED)}). "
            f"Got them with {precision}."
        )
    request.folder.mkdir(parents=True, exist_ok=True)
    return REALISATIONS[precision, backend](model, request)
