"""The table of realisations."""

from collections.abc import Callable

from torch import nn

from tdq_core.compression.quantize.artefact import Artefact, Request
from tdq_core.compression.quantize.onnx_float import onnx_fp16, onnx_fp32
from tdq_core.compression.quantize.onnx_int4 import onnx_int4
from tdq_core.compression.quantize.onnx_int8 import onnx_int8
from tdq_core.compression.quantize.torch_float import torch_fp16, torch_fp32
from tdq_core.compression.quantize.torch_int8 import torch_int8
from tdq_core.compression.quantize.torch_program import program_fp16, program_fp32
from tdq_core.compression.quantize.torch_simulated import torch_simulated
from tdq_core.errors import InputError
from tdq_core.specs import Precision, PrecisionSpec
from tdq_core.specs.precision import simulated

REALISATIONS: dict[tuple[str, str], Callable[[nn.Module, Request, Precision], Artefact]] = {
    ("fp32", "torch"): lambda model, request, precision: torch_fp32(model, request),
    ("fp16", "torch"): lambda model, request, precision: torch_fp16(model, request),
    ("int8", "torch"): torch_int8,
    ("simulated", "torch"): torch_simulated,
    ("fp32", "onnxruntime"): lambda model, request, precision: onnx_fp32(model, request),
    ("fp16", "onnxruntime"): lambda model, request, precision: onnx_fp16(model, request),
    ("int8", "onnxruntime"): onnx_int8,
    ("simulated", "onnxruntime"): onnx_int4,
}
"""By kind of precision and backend."""
PROGRAMS: dict[str, Callable[[nn.Module, Request, Precision], Artefact]] = {
    "fp32": lambda model, request, precision: program_fp32(model, request),
    "fp16": lambda model, request, precision: program_fp16(model, request),
    "int8": torch_int8,
}
"""By kind of precision, what torch runs as a program of torch.export."""


def realise(model: nn.Module, precision: str, backend: str, *, request: Request) -> Artefact:
    """Write `model` at `precision` as a file that `backend` runs, and give the function that runs it.

    `model` is in eval mode, made of plain layers in float32 on the CPU, batch norms not folded; it is not changed,
    and the fp32 artefact of torch runs it as it is.

    Raises:
        InputError: an unknown precision or backend, other simulated bits than 4-bit weights with onnxruntime, ranges
            'mse' or quantization-aware rounding without simulated bits, or activations to be rounded without
            calibration images.
        Refused: a value of the model does not fit in fp16.
        RunFailed: an exported file or a folded model does not compute what the model computes, or its logits are not
            finite.
    """
    numbers = PrecisionSpec(precision, backend).numbers
    if request.ranges != "minmax" and not numbers.simulated:
        raise InputError(
            f"The ranges '{request.ranges}' are those of simulated bits ({', '.join(simulated())}). "
            f"Got them with {precision}."
        )
    if request.aware and not numbers.simulated:
        raise InputError(
            f"Quantization-aware rounding is that of simulated bits ({', '.join(simulated())}). "
            f"Got it with {precision}."
        )
    if request.bits and not numbers.simulated:
        raise InputError(
            f"Bits of single layers are those of simulated bits ({', '.join(simulated())}). Got them with {precision}."
        )
    request.folder.mkdir(parents=True, exist_ok=True)
    if request.program:
        return PROGRAMS[numbers.kind](model, request, numbers)
    return REALISATIONS[numbers.kind, backend](model, request, numbers)
