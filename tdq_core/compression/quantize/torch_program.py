"""fp32 and fp16 for torch as a program of torch.export: it runs with torch alone."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.compression.quantize.failures import failing_as_run_failed
from tdq_core.compression.quantize.fp16_range import require_fp16_range
from tdq_core.compression.quantize.pt2_file import load_program, save_program
from tdq_core.compression.quantize.third_party_noise import quiet
from tdq_core.compression.quantize.torch_float import FP16_NOTE, module_predict, rounded_to_halves
from tdq_core.graph.agreement import lossy_check, require_same
from tdq_core.graph.state import state_once

WAY_OUT = "export it as onnx"


def program_fp32(model: nn.Module, request: Request) -> Artefact:
    """`model` as the program that computes what it computes; what is run is that file, loaded again.

    RunFailed: torch cannot capture the model, or the loaded program is another function.
    """
    return _written(model, request, "fp32")


def program_fp16(model: nn.Module, request: Request) -> Artefact:
    """The same of the model on halves, as `torch_float.torch_fp16` has it: stored in fp16, computed in float32.

    Refused: a weight does not fit in fp16.
    """
    require_fp16_range(state_once(model))
    made = _written(_OfHalves(rounded_to_halves(model)).eval(), request, "fp16")
    details = {**made.details, "precision_check": lossy_check(model, made.predict, request.example)}
    return artefact(made.path, made.predict, details=details, notes=(FP16_NOTE,))


def _written(model: nn.Module, request: Request, name: str) -> Artefact:
    path = request.folder / f"model.{name}.pt2"
    with failing_as_run_failed("Capturing the model with torch.export", WAY_OUT), quiet():
        program = torch.export.export(
            model, (request.example[:2].clone(),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
        )
        save_program(program, path)
        predict = module_predict(load_program(path, quantized=False))
    check = require_same(
        module_predict(model), predict, request.example,
        what="The program that torch.export made is not the model", way_out=WAY_OUT,
    )  # fmt: skip
    return artefact(path, predict, details={"kernels": "torch float32", "export_check": check})


class _OfHalves(nn.Module):
    """A model whose floats are kept as halves; they become float32 as it runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._bare = (model,)  # not as a part: its float32 state would go into the file too
        self._names = {name: "half_" + name.replace(".", "_") for name in state_once(model)}
        for name, tensor in state_once(model).items():
            self.register_buffer(self._names[name], tensor.half() if tensor.is_floating_point() else tensor)

    def forward(self, images: Tensor) -> Tensor:
        kept = {name: getattr(self, own) for name, own in self._names.items()}
        floats = {name: t.float() if t.is_floating_point() else t for name, t in kept.items()}
        logits: Tensor = functional_call(self._bare[0], floats, (images,), tie_weights=True)
        return logits
