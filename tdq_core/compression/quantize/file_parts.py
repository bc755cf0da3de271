"""What the files of a model hold that does not depend on ranks and bits: what a plan counts bytes by."""

import dataclasses

import torch
from torch import Tensor, nn

from tdq_core.graph.modules import plain_layers
from tdq_core.graph.norms import PLAIN
from tdq_core.graph.reached import unreached
from tdq_core.graph.state import state_once
from tdq_core.graph.uses import following_norms
from tdq_core.layers.table import Files, LayerTable, Stored
from tdq_core.ranks.packed import file_size

KINDS = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.complex64: "C64",
}  # fmt: skip
"""Types as safetensors writes them."""


def with_files(table: LayerTable, model: nn.Module, example: Tensor) -> LayerTable:
    """`table` with what the files of `model` hold, as `example` (N, C, H, W) passes through it."""
    return dataclasses.replace(table, files=files_of(table, model, example))


def files_of(table: LayerTable, model: nn.Module, example: Tensor) -> Files:
    """See `Files`; batch norms are folded as `fold.folded` folds them."""
    layers, state = plain_layers(model), state_once(model)
    norms = {layer: norm for layer, norm in following_norms(model, layers, example).items()
             if type(model.get_submodule(norm)) in PLAIN}  # fmt: skip
    gone = unreached(model, example)
    known = {layer.name for layer in table.layers}
    packed = {name: f"{name}.bias" in state or name in norms for name in layers if name in known}
    apart = [f"{name}.{key}" for name in layers for key in ("weight", "bias")]
    apart += [f"{norm}.{key}" for norm in norms.values() for key in model.get_submodule(norm).state_dict()]
    stored = {name: _stored(name, tensor, counts=name not in gone) for name, tensor in state.items()}
    others = tuple(tensor for name, tensor in stored.items() if name not in apart)
    idle = {name: (tuple(layer.weight.shape), stored[f"{name}.bias"].shape[0] if f"{name}.bias" in stored else 0)
            for name, layer in layers.items() if name not in known}  # fmt: skip
    first = {id(layer.weight): name for name, layer in reversed(layers.items())}
    tied = {name: first[id(layer.weight)] for name, layer in layers.items() if first[id(layer.weight)] != name}
    return Files(file_size(stored.values()), packed, others, idle, tied)


def _stored(name: str, tensor: Tensor, *, counts: bool) -> Stored:
    return Stored(name, KINDS[tensor.dtype], tuple(tensor.shape), tensor.nbytes, counts)
