"""The convolutions that a module really runs, and what it pads before them, whatever its class is called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_MODES = {
    torch.ops.aten.constant_pad_nd.default: "constant",
    torch.ops.aten.reflection_pad2d.default: "reflect",
    torch.ops.aten.replication_pad2d.default: "replicate",
}


@dataclass(frozen=True)
class Convolution:
    """One convolution as it ran.

    Attributes:
        weight: (C_out, C_in / groups, K_h, K_w), or with other numbers of places.
        transposed: it is the transposed one.
    """

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    groups: int


@dataclass(frozen=True)
class Pad:
    """What was put around a tensor.

    Attributes:
        mode: 'constant', 'reflect' or 'replicate'.
        amounts: left, right, top, bottom.
    """

    mode: str
    amounts: tuple[int, ...]
    value: float = 0.0


@dataclass(frozen=True)
class Seen:
    convolutions: list[Convolution]
    pads: list[Pad]


def operations(module: nn.Module, *args: Any, **kwargs: Any) -> Seen:
    """The convolutions and pads that one call of `module` runs, in their order."""
    seen = Seen([], [])
    with torch.no_grad(), _Watching(seen):
        module(*args, **kwargs)
    return seen


class _Watching(TorchDispatchMode):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            _, weight, bias, stride, padding, dilation, transposed, _, groups = args
            sizes = (tuple(stride), tuple(padding), tuple(dilation))
            self.seen.convolutions.append(Convolution(weight, bias, *sizes, transposed, groups))
        elif func in _MODES:
            self.seen.pads.append(Pad(_MODES[func], tuple(args[1]), float(args[2]) if len(args) > 2 else 0.0))
        return func(*args, **(kwargs or {}))
