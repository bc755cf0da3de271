"""Read the layers of a torch model into a `LayerTable`: shapes, positions, and what cannot be decomposed."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from tdq_core.graph.survey import Survey, of_one_image, of_one_more, survey
from tdq_core.layers.methods import refused_groups
from tdq_core.layers.table import Layer, LayerTable, Rest

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
UNKNOWN_OPERATORS = (
    "aten::_native_multi_head_attention", "aten::_transformer_encoder_layer_fwd", "aten::cdist", "aten::_cdist_forward",
    "aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu", "aten::mkldnn_rnn_layer", "aten::grid_sampler",
    "aten::_fft_r2c", "aten::_fft_c2c", "aten::_fft_c2r", "aten::_embedding_bag", "aten::_sparse_addmm",
)  # fmt: skip
"""Operators of torch's own that multiply, and that its counter does not know."""


def count_params(model: nn.Module) -> int:
    """Number of parameters, shared ones once; buffers are not parameters."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one image, counted on the operators that really run (convolutions and matrix products).

    Work that does not grow with the images, as on a table of constants, counts once.

    Args:
        example: (N, C, H, W); passed as it is, and with one image more.
    """
    more = of_one_more(lambda images: _macs(model, images), example)
    return of_one_image(_macs(model, example), more, len(example))


def _macs(model: nn.Module, images: Tensor) -> int:
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with FlopCounterMode(display=False, custom_mapping=attention) as counter, torch.inference_mode():
        model(images)
    return int(counter.get_total_flops()) // 2


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))


def read_layers(model: nn.Module, example: Tensor, *, name: str, digest: str) -> LayerTable:
    """The table of all Conv2d and Linear layers that `model` runs on `example` (N, C, H, W), by their first calls, and
    of the params that are in none of them.

    Spectra are joined to it by `compression.decompose.spectra`.
    """
    seen = survey(model, example)
    layers = tuple(_read(layer, seen) for layer in seen.ways)
    return LayerTable(
        name, digest, count_params(model), count_macs(model, example), layers, tuple(_notes(seen)), tuple(_rest(seen))
    )  # fmt: skip


def _read(name: str, seen: Survey) -> Layer:
    module, way = seen.layers[name], seen.ways[name]
    ends = {seen.ends.last: "classifier"} | {seen.ends.first: "first"}
    convolution = isinstance(module, nn.Conv2d)
    weight = module.weight.detach()
    c_out, c_in = weight.shape[0], module.in_channels if isinstance(module, nn.Conv2d) else weight.shape[1]
    return Layer(
        name,
        "conv" if convolution else "linear",
        c_out,
        c_in,
        (weight.shape[2], weight.shape[3]) if convolution else (1, 1),
        way.positions[0],
        way.positions[1],
        bias=module.bias is not None,
        groups=module.groups if isinstance(module, nn.Conv2d) else 1,
        refusal=_refusal(module) or way.refusal,
        end=ends.get(name, ""),
        also=way.names[1:],
        calls=way.calls,
        between_positions=_unless_mean(*way.positions),
    )


def _unless_mean(before: int, after: int, between: int) -> int | None:
    return None if between == math.isqrt(before * after) else between


def _refusal(module: nn.Conv2d | nn.Linear) -> str | None:
    if type(module) not in (nn.Conv2d, nn.Linear):
        return f"it is a {type(module).__name__}, not a plain Conv2d or Linear: its own behaviour would be lost"
    if not torch.isfinite(module.weight).all():
        return "its weight holds NaN or infinite values"
    if isinstance(module, nn.Conv2d):
        if reason := refused_groups(module.in_channels, module.groups):
            return reason
        if module.padding_mode not in PADDING_MODES:
            return f"its padding mode '{module.padding_mode}' cannot be carried over"
    return None


def _rest(seen: Survey) -> Iterator[Rest]:
    """Of every module that holds parameters of its own and is no layer of the table; a shared parameter counts once, a
    layer's own before all others."""
    counted = {id(p) for name in seen.ways for p in seen.layers[name].parameters(recurse=False)}
    gone = tuple(seen.unreached)
    for name, module in seen.model.named_modules():
        own = {id(p): p.numel() for p in module.parameters(recurse=False) if id(p) not in counted}
        counted |= own.keys()
        if own:
            yield Rest(name, type(module).__name__, sum(own.values()), _why_rest(name, module, seen, gone))


def _why_rest(name: str, module: nn.Module, seen: Survey, gone: tuple[str, ...]) -> str:
    if any(name == each or name.startswith(f"{each}.") for each in gone):
        return "no image reaches it"
    if all(f"{name}.{key}".lstrip(".") in seen.unread for key, _ in module.named_parameters(recurse=False)):
        return "no operation reads it"
    return ""


def _notes(seen: Survey) -> Iterator[str]:
    unknown = sorted(n for n in seen.pass_.operators if n in UNKNOWN_OPERATORS or not n.startswith(("aten::", "prim")))
    if unknown:
        yield f"MACs of these operators are not counted: {', '.join(unknown)}."
    if seen.larger is None:
        yield f"The network takes {seen.images} images at once and not one more: all MACs count as those of images."
    if foreign := seen.pass_.foreign.values():
        count = sum(shape.numel() for shape in foreign)
        yield f"The network computes with {count:,} params that are not among its own: they are not counted."
