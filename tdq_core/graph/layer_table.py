"""Read the layers of a torch model into a `LayerTable`: shapes, positions, spectra, and what cannot be decomposed."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tdq_core.compression.decompose.linalg import squared_singular_values
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.system.progress import Progress, silent

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


def read_layers(
    model: nn.Module, example: Tensor, *, name: str, digest: str, spectra: bool = True, on_progress: Progress = silent
) -> LayerTable:
    """The table of all Conv2d and Linear layers that `model` runs on `example` (N, C, H, W).

    Args:
        spectra: also compute the spectra, which planning by energy or EVBMF needs (seconds on large layers).
    """
    calls = _watch(model, example)
    linears = [n for n, (m, _, _) in calls.items() if isinstance(m, nn.Linear)]
    first = next((n for n, (m, _, _) in calls.items() if isinstance(m, nn.Conv2d)), None)
    ends = {first: "first"} | ({linears[-1]: "classifier"} if linears else {})
    owners = Counter(id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    layers = []
    on_progress("read layers", 0, len(calls))
    for done, (layer_name, (module, before, after)) in enumerate(calls.items(), start=1):
        shared = owners[id(module.weight)] > 1
        layer = _read(layer_name, module, (before, after), ends.get(layer_name, ""), shared)
        layers.append(_with_spectra(layer, module.weight.detach()) if spectra and not layer.refusal else layer)
        on_progress("read layers", done, len(calls))
    return LayerTable(name, digest, count_params(model), count_macs(model, example), tuple(layers))


def _watch(model: nn.Module, example: Tensor) -> dict[str, tuple[nn.Conv2d | nn.Linear, int, int]]:
    """Layer name -> (module, input positions, output positions) for one image, in the order of the first call."""
    seen: dict[str, tuple[nn.Conv2d | nn.Linear, int, int]] = {}

    def hook(name: str, module: nn.Conv2d | nn.Linear, inputs: Tensor, output: Tensor) -> None:
        _, before, after = seen.get(name, (module, 0, 0))
        seen[name] = (
            module,
            before + _positions(module, inputs, len(example)),
            after + _positions(module, output, len(example)),
        )

    handles = [
        module.register_forward_hook(lambda m, inputs, output, name=name: hook(name, m, inputs[0], output))
        for name, module in _layers(model)
    ]
    try:
        with torch.inference_mode():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield name, module


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


def _with_spectra(layer: Layer, weight: Tensor) -> Layer:
    out = _spectrum(weight, 0)
    in_ = out if layer.taps == 1 else _spectrum(weight, 1)  # a matrix has one spectrum
    return dataclasses.replace(layer, spectrum_out=out, spectrum_in=in_)


def _spectrum(weight: Tensor, mode: int) -> tuple[float, ...]:
    return tuple(squared_singular_values(weight.movedim(mode, 0).flatten(1)).tolist())


def _refusal(module: nn.Conv2d | nn.Linear, shared: bool) -> str | None:
    if type(module) not in (nn.Conv2d, nn.Linear):
        return f"it is a {type(module).__name__}, not a plain Conv2d or Linear: its own behaviour would be lost"
    if shared:
        return "its weight is shared with another layer"
    if not torch.isfinite(module.weight).all():
        return "its weight holds NaN or infinite values"
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            return f"it is a grouped convolution (groups={module.groups}), which is not decomposed"
        if module.padding_mode not in PADDING_MODES:
            return f"its padding mode '{module.padding_mode}' cannot be carried over"
    return None
