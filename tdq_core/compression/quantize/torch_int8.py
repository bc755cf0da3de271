"""int8 for torch: PT2E of torchao, activations per tensor with min-max ranges."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.compression.quantize.calibration import calibration_chunks
from tdq_core.compression.quantize.failures import failing_as_run_failed
from tdq_core.compression.quantize.left_in_float import left_in_float, left_in_float_note
from tdq_core.compression.quantize.pt2_file import LOAD_HINT, load_program, save_program
from tdq_core.compression.quantize.pt2e_folds import keep_wrong_folds_apart
from tdq_core.compression.quantize.pt2e_operators import write_plainly
from tdq_core.compression.quantize.pt2e_rounding import rounded_by_hand
from tdq_core.compression.quantize.pt2e_scheme import quantizer
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.third_party_noise import quiet
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.graph.agreement import lossy_check, require_same
from tdq_core.specs.precision import Precision
from tdq_core.system.extras import require_extra

CHUNK_VALUES = 2**21
"""Input values of a calibration step: 13 images of 224 px. Every step observes the weights again, so not fewer."""

WAY_OUT = "run it with the backend 'onnxruntime'"

REFERENCE_NOTE = (
    "INT8 with the torch backend runs the reference graph: weights and activations are rounded to 8 bits and the "
    "arithmetic between is fp32, the same on every CPU; size and accuracy are valid, latency is not meaningful."
)


def torch_int8(model: nn.Module, request: Request, precision: Precision) -> Artefact:
    """The quantized program as a .pt2 file; what is run is that file, loaded again.

    InputError: torchao is not installed, or no calibration images. RunFailed: PT2E cannot take this model, its graph
    is not the model before anything is rounded, or the loaded file does not compute what rounding by hand gives.
    """
    require_extra("pt2e")
    path = request.folder / "model.int8.pt2"
    scheme = request.scheme(precision)
    chunks = calibration_chunks(request, values=CHUNK_VALUES)
    with quiet():
        prepared = _prepared(model, request, scheme)
        float_check = _require_the_model(model, prepared, request)
        images = _calibrated(prepared, chunks)
        by_hand = rounded_by_hand(prepared)
        program = _exported(_converted(prepared), request.example, strict=False)
        save_program(program, path)
        predict = module_predict(load_program(path))
    rounding_check = require_same(
        module_predict(by_hand), predict, request.example,
        what="The int8 program does not compute what rounding the same graph by hand gives", way_out=WAY_OUT,
    )  # fmt: skip
    counts = _numbers_by_type(program)
    details = {
        "kernels": "reference quantize / dequantize around torch float32",
        "quantizer": "torchao.quantization.pt2e",
        "load": LOAD_HINT,
        "per_channel": scheme.granularity == "channel",
        "reduce_range": scheme.reduced,
        "activations": scheme.activations_text,
        "weights": scheme.weights_text,
        "calibration_images": images,
        "numbers_by_type": counts,
        "left_in_fp32": (left := left_in_float(program.state_dict)),
        "float_check": float_check,
        "rounding_check": rounding_check,
        "precision_check": lossy_check(model, predict, request.example),
    }
    return artefact(path, predict, details=details, notes=(REFERENCE_NOTE, *left_in_float_note(left)))


def _prepared(model: nn.Module, request: Request, scheme: Scheme) -> GraphModule:
    """The float graph, batch norms folded, that observes the ranges of what passes."""
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    with failing_as_run_failed("Capturing the model with PT2E for int8", WAY_OUT):
        # strict: without it a ReLU module that is called twice, as in torchvision's ResNets, stops the quantizer
        graph = _exported(copy.deepcopy(model), request.example, strict=True).module()
        write_plainly(graph)
        keep_wrong_folds_apart(graph)
        prepared: GraphModule = prepare_pt2e(graph, quantizer(scheme))
    return prepared


def _require_the_model(model: nn.Module, prepared: GraphModule, request: Request) -> dict[str, float | int]:
    """Before anything is rounded; on a copy, since whatever passes through `prepared` is observed."""
    return require_same(
        model, module_predict(copy.deepcopy(prepared)), request.example,
        what="The graph that PT2E prepared for int8 is not the model, before anything is rounded", way_out=WAY_OUT,
    )  # fmt: skip


def _calibrated(prepared: GraphModule, chunks: Iterator[Tensor]) -> int:
    images = 0
    with torch.no_grad():
        for chunk in chunks:
            prepared(chunk)
            images += len(chunk)
    return images


def _converted(prepared: GraphModule) -> GraphModule:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    with failing_as_run_failed("Converting the model to int8 with PT2E", WAY_OUT):
        converted: GraphModule = convert_pt2e(prepared)
    _drop_unused(converted)
    return converted


def _exported(model: nn.Module, example: Tensor, *, strict: bool) -> ExportedProgram:
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(model, (example[:2].clone(),), dynamic_shapes=shapes, strict=strict)


def _drop_unused(graph: GraphModule) -> None:
    """Drop the float32 weights that the conversion leaves behind, unused, beside their 8-bit copies."""
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [n for n, _ in (*graph.named_parameters(), *graph.named_buffers()) if n not in used]:
        owner, _, attribute = name.rpartition(".")
        delattr(graph.get_submodule(owner), attribute)


def _numbers_by_type(program: ExportedProgram) -> dict[str, int]:
    """How many numbers the file holds of each type."""
    counts: dict[str, int] = {}
    for tensor in program.state_dict.values():
        name = str(tensor.dtype).removeprefix("torch.")
        counts[name] = counts.get(name, 0) + tensor.numel()
    return counts
