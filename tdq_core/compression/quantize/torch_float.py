"""fp32 and fp16 for torch."""

import copy
from collections.abc import Mapping

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tdq_core.compression.quantize.artefact import Artefact, Predict, Request, artefact
from tdq_core.compression.quantize.fp16_range import require_fp16_range
from tdq_core.graph.agreement import lossy_check
from tdq_core.graph.change import change_leaves
from tdq_core.graph.reached import unreached
from tdq_core.graph.state import load_once, state_once

FP16_NOTE = (
    "FP16 with the torch backend: weights are stored in fp16, and weights and the inputs and outputs of every layer "
    "(not what functions compute between) are rounded to fp16, but the arithmetic between is fp32 (CPUs without FP16 "
    "units convolve halves 30 times slower): size and accuracy are valid, latency is not meaningful."
)


def torch_fp32(model: nn.Module, request: Request) -> Artefact:
    """The state dict as safetensors; the model runs as it is."""
    path = request.folder / "model.fp32.safetensors"
    save_file(state := _state(model), path)
    unused = _unused(model, state, request)
    return artefact(path, module_predict(model), details={"kernels": "torch float32"}, unused=unused)


def torch_fp16(model: nn.Module, request: Request) -> Artefact:
    """The state dict in halves as safetensors, run as fp16 values in float32 arithmetic.

    Refused: a weight does not fit in fp16.
    """
    path = request.folder / "model.fp16.safetensors"
    state = _state(model)
    require_fp16_range(state)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    save_file(halves, path)
    predict = module_predict(rounded_to_halves(model, load_file(path)))
    details = {
        "kernels": "torch float32 on values rounded to fp16",
        "precision_check": lossy_check(model, predict, request.example),
    }
    return artefact(path, predict, details=details, notes=(FP16_NOTE,), unused=_unused(model, halves, request))


def rounded_to_halves(model: nn.Module, halves: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A copy of `model` on values that fp16 has: its state (or `halves`, as a file has them), and the inputs and
    outputs of its layers."""
    kept = halves or {name: t.half() if t.is_floating_point() else t for name, t in _state(model).items()}
    rounded = copy.deepcopy(model)
    load_once(rounded, {name: t.float() if t.is_floating_point() else t for name, t in kept.items()})
    change_leaves(rounded, _rounded)
    return rounded


def module_predict(model: nn.Module) -> Predict:
    """A function that runs `model` without gradients."""

    def predict(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = model(images)
        return logits

    return predict


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous().clone() for name, tensor in state_once(model).items()}


def _unused(model: nn.Module, state: Mapping[str, Tensor], request: Request) -> int:
    """Bytes of what no image reaches."""
    return sum(state[name].nbytes for name in unreached(model, request.example[:2]))


def _rounded(value: Tensor) -> Tensor:
    """As half kernels with float32 accumulators round the inputs and outputs of every layer."""
    return value.half().float()
