"""Convolutions and linear layers that are no plain ones but compute what a plain one computes.

They pad or cast first, standardise their weight, add a low rank to it, draw noise only when they train: many classes of
many libraries, known by none of their names. What one runs is looked at, plain layers are proposed, and the first that
computes the same on everything tried takes its place.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tdq_core.graph.arguments import Arguments
from tdq_core.graph.modules import Layer, layers, of_kind
from tdq_core.graph.observe import first_tensor
from tdq_core.graph.oddities import borrowed, hooks, move_hooks, oddities, without_hooks
from tdq_core.graph.operations import Convolution, Pad, Seen, operations
from tdq_core.graph.reparametrized import computed
from tdq_core.graph.stand_in import Around
from tdq_core.models.opening.padding import SamePadding, fixed
from tdq_core.models.opening.proof import StaysOdd, computes_the_same, fresh

PLAIN = (nn.Conv2d, nn.Linear)
PlainLayer = TypeVar("PlainLayer", nn.Conv2d, nn.Linear)


def odd_layers(model: nn.Module) -> dict[str, Layer]:
    """Those that may be no plain ones. What torch's own attention reads without calling it is none of them, nor is one
    whose weight is still computed: of that is told already."""
    read = {id(each.out_proj) for each in of_kind(model, nn.MultiheadAttention).values()}
    return {
        name: layer
        for name, layer in layers(model).items()
        if oddities(layer, PLAIN) and id(layer) not in read and not computed(layer)
    }


def plain_layer(module: Layer, calls: list[Arguments]) -> nn.Module:
    """What may take the place of `module`: a Conv2d or Linear, with padding before it or hooks on it where needed.

    Args:
        calls: with what it is called in the network; there may be none.

    Raises:
        StaysOdd: it computes something else.
    """
    if elsewhere := borrowed(module):
        raise StaysOdd(f"takes its {' and '.join(elsewhere)} from elsewhere")
    convolution = isinstance(module, nn.Conv2d)
    core = "convolution" if convolution else "linear"
    bare, trials = without_hooks(module), [*calls, *_more(module, calls)]
    for proposed in _convolutions(bare, trials) if isinstance(bare, nn.Conv2d) else _linears(bare):
        renamed = any(kwargs.keys() - {"input"} for _, kwargs in calls)
        stand_in = Around(core, {core: proposed}) if renamed and type(proposed) in PLAIN else proposed
        if computes_the_same(bare, stand_in, trials):
            return with_hooks(module, stand_in, core, trials)
    raise StaysOdd(f"computes something else than a plain {'convolution' if convolution else 'linear layer'}")


def with_hooks(old: nn.Module, new: nn.Module, core: str, trials: list[Arguments]) -> nn.Module:
    """`new`, or where `old` has hooks what holds `new` and has them; StaysOdd where they do not go with it."""
    if not (names := hooks(old)):
        return new
    around = move_hooks(old, new if isinstance(new, Around) else Around(core, {core: new}))
    if not computes_the_same(old, around, trials):
        raise StaysOdd(f"has the hook {', '.join(names)}, which works on this very layer")
    return around


def _more(module: Layer, calls: list[Arguments]) -> Iterator[Arguments]:
    """Calls beside the real ones: other values, images and sizes."""
    seen = first_tensor(calls[0]) if calls else None
    if isinstance(module, nn.Linear):
        places = seen.shape[1:-1] if seen is not None else ()
        shapes = [(1, *places, module.in_features), (2, module.in_features), (2, 3, module.in_features)]
    else:
        least = [(k - 1) * d + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        h, w = seen.shape[-2:] if seen is not None and seen.ndim == 4 else (2 * k + 3 for k in least)
        sizes = [(h, w), *((2 * least[0] + more, 2 * least[1] + 2 * more + 1) for more in range(4))]
        shapes = [(1, module.in_channels, *size) for size in sizes]
    for shape in shapes:
        yield (fresh(*shape, like=seen),), {}


def _convolutions(module: nn.Conv2d, trials: list[Arguments]) -> Iterator[nn.Module]:
    """Plain layers that may compute what `module` computes, the likeliest first."""
    seen = [found for call in trials if (found := _operations(module, call))]
    ran = [op for found in seen for op in found.convolutions]
    if seen and len(ran) == len(seen) and not ran[0].transposed and ran[0].weight.ndim == 4:
        yield from _one_convolution(module, ran[0], [pad for found in seen for pad in found.pads])
    if (linear := _linearised_convolution(module)) is not None:
        yield linear


def _operations(module: nn.Module, call: Arguments) -> Seen | None:
    try:
        return operations(module, *call[0], **call[1])
    except Exception:  # not a call of this module: its own code says so
        return None


def _one_convolution(module: nn.Conv2d, op: Convolution, pads: list[Pad]) -> Iterator[nn.Module]:
    yield _conv(module, op, padding=op.padding)
    yield _conv(module, op, padding=module.padding, padding_mode=module.padding_mode)
    extent = tuple((k - 1) * d + 1 for k, d in zip(op.weight.shape[2:], op.dilation, strict=True))
    for pad in dict.fromkeys(pads):
        for more in ("end", "start"):
            same = SamePadding(extent, op.stride, pad.mode, pad.value, more)  # type: ignore[arg-type]
            yield _padded(same, _conv(module, op, padding=op.padding))
        yield _padded(fixed(pad), _conv(module, op, padding=op.padding))


def _padded(padding: nn.Module, convolution: nn.Conv2d) -> Around:
    return Around("convolution", {"padding": padding, "convolution": convolution})


def _conv(module: nn.Conv2d, op: Convolution, *, padding: Any, padding_mode: Any = "zeros") -> nn.Conv2d:
    c_out, c_in, *kernel = op.weight.shape
    geometry: Any = {"kernel_size": kernel, "stride": op.stride, "padding": padding, "dilation": op.dilation}
    geometry |= {"groups": op.groups, "padding_mode": padding_mode}
    new = nn.Conv2d(c_in * op.groups, c_out, bias=False, device="meta", **geometry)
    return _holding(new, module, op.weight, op.bias)


def _holding(new: PlainLayer, old: Layer, weight: Tensor, bias: Tensor | None) -> PlainLayer:
    """`new`, with this weight and bias: the parameters of `old` themselves where it is they, so that ties stay."""
    new.weight = _parameter(old.weight, weight)
    if bias is not None:
        new.bias = _parameter(old.bias, bias)
    return new.eval()


def _parameter(own: Tensor | None, used: Tensor) -> nn.Parameter:
    alike = own is not None and own.shape == used.shape and own.dtype == used.dtype and torch.equal(own, used)
    if isinstance(own, nn.Parameter) and alike:
        return own
    return nn.Parameter(used.detach().clone(), requires_grad=False)


def _linearised_convolution(module: nn.Conv2d) -> nn.Conv2d | None:
    """The convolution, of the geometry that `module` says it has, of which `module` is a sum, by its derivative."""
    if isinstance(module.padding, str) or any(places < 0 for places in module.padding):
        return None
    extent = [(k - 1) * d + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    out = [-(-p // s) for p, s in zip(module.padding, module.stride, strict=True)]  # its window lies within the image
    starts = [o * s - p for o, s, p in zip(out, module.stride, module.padding, strict=True)]
    sizes = [e + s for e, s in zip(extent, module.stride, strict=True)]
    found = _derivative(module, torch.zeros(module.out_channels, module.in_channels, *sizes), out)
    if found is None:
        return None
    gradient, bias = found
    rows, columns = (slice(s, s + e, d) for s, e, d in zip(starts, extent, module.dilation, strict=True))
    window = gradient[:, :, rows, columns].unflatten(1, (module.groups, -1))
    group = torch.arange(module.out_channels) // (module.out_channels // module.groups)
    weight = window[torch.arange(module.out_channels), group]
    op = Convolution(weight, bias, module.stride, module.padding, module.dilation, False, module.groups)
    return _conv(module, op, padding=module.padding, padding_mode=module.padding_mode)


def _linears(module: nn.Linear) -> Iterator[nn.Module]:
    shape = (module.in_features, module.out_features)
    if module.weight.shape == shape[::-1]:
        yield _holding(nn.Linear(*shape, bias=False, device="meta"), module, module.weight, module.bias)
    if (found := _derivative(module, torch.zeros(shape[::-1]), [])) is not None:
        yield _holding(nn.Linear(*shape, bias=False, device="meta"), module, *found)


def _derivative(module: nn.Module, x: Tensor, place: list[int]) -> tuple[Tensor, Tensor | None] | None:
    """Of output channel i at `place`, with respect to image i, for all i; and what the channels are for zeros, None
    where that is nothing. None: there is no derivative."""
    try:
        with torch.enable_grad():
            y = module(x.requires_grad_())[(..., *place)]
            (gradient,) = torch.autograd.grad(y.diagonal().sum(), x)
    except Exception:  # it takes no such input, or computes in a way that has no derivative
        return None
    at_zero = y[0].detach()
    return gradient, at_zero if bool(at_zero.any()) else None
