"""Read the layers of a torch model into a `LayerTable`: shapes, positions, and what cannot be decomposed."""

from collections import Counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tdq_core.graph.ends import ends_of
from tdq_core.graph.modules import layers as layers_of
from tdq_core.graph.observe import Call, watch
from tdq_core.layers.methods import refused_groups
from tdq_core.layers.table import Layer, LayerTable

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def count_params(model: nn.Module) -> int:
    """Number of parameters, shared ones once; buffers are not parameters."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one image, counted on the operators that really run (convolutions and matrix products).

    Args:
        example: (N, C, H, W); the count is divided by N.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(example)
    return counter.get_total_flops() // 2 // len(example)


def read_layers(model: nn.Module, example: Tensor, *, name: str, digest: str) -> LayerTable:
    """The table of all Conv2d and Linear layers that `model` runs on `example` (N, C, H, W), by their first calls.

    Spectra are joined to it by `compression.decompose.spectra`.
    """
    found, calls = layers_of(model), _calls(model, example)
    ends = ends_of([call for call, _, _ in calls], found)
    names = {ends.last: "classifier"} | {ends.first: "first"}
    owners = Counter(id(layer.weight) for layer in found.values())
    positions: dict[str, tuple[int, int]] = {}
    for layer, before, after in calls:
        earlier = positions.get(layer, (0, 0))
        positions[layer] = (earlier[0] + before, earlier[1] + after)
    table = tuple(
        _read(layer, found[layer], where, names.get(layer, ""), owners[id(found[layer].weight)] > 1)
        for layer, where in positions.items()
    )
    return LayerTable(name, digest, count_params(model), count_macs(model, example), table)


def _calls(model: nn.Module, example: Tensor) -> list[tuple[str, int, int]]:
    """(Layer name, input positions, output positions) for one image of every call, in their order."""
    calls: list[tuple[str, int, int]] = []

    def see(call: Call) -> None:
        before, after = (_positions(call.module, t, len(example)) for t in (call.input, call.output))
        calls.append((call.name, before, after))

    with watch(model, layers_of(model), see), torch.inference_mode():
        model(example)
    return calls


def _positions(module: nn.Module, tensor: Tensor, images: int) -> int:
    if isinstance(module, nn.Conv2d):
        return tensor.shape[0] * tensor.shape[-2] * tensor.shape[-1] // images
    return tensor.numel() // tensor.shape[-1] // images


def _read(name: str, module: nn.Conv2d | nn.Linear, positions: tuple[int, int], end: str, shared: bool) -> Layer:
    convolution = isinstance(module, nn.Conv2d)
    weight = module.weight.detach()
    c_out, c_in = weight.shape[0], module.in_channels if isinstance(module, nn.Conv2d) else weight.shape[1]
    return Layer(
        name,
        "conv" if convolution else "linear",
        c_out,
        c_in,
        (weight.shape[2], weight.shape[3]) if convolution else (1, 1),
        *positions,
        bias=module.bias is not None,
        groups=module.groups if isinstance(module, nn.Conv2d) else 1,
        refusal=_refusal(module, shared),
        end=end,
    )


def _refusal(module: nn.Conv2d | nn.Linear, shared: bool) -> str | None:
    if type(module) not in (nn.Conv2d, nn.Linear):
        return f"it is a {type(module).__name__}, not a plain Conv2d or Linear: its own behaviour would be lost"
    if shared:
        return "its weight is shared with another layer"
    if not torch.isfinite(module.weight).all():
        return "its weight holds NaN or infinite values"
    if isinstance(module, nn.Conv2d):
        if reason := refused_groups(module.in_channels, module.groups):
            return reason
        if module.padding_mode not in PADDING_MODES:
            return f"its padding mode '{module.padding_mode}' cannot be carried over"
    return None
