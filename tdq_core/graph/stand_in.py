"""What stands where a layer stood: a Sequential that says of itself what a forward may ask of a layer.

Models read `self.body.weight.dtype`, `.in_channels` or `.stride` of a layer beside calling it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FACTS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode",
         "in_features", "out_features")  # fmt: skip
"""Numbers and words that a Conv2d or a Linear says of itself."""


@dataclass(frozen=True)
class WeightFacts:
    """What may be asked of a weight that is not there as one tensor: everything but its values."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return self.shape.numel()

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point


class Factored(nn.Sequential):
    """The layers that a Conv2d or Linear has been taken apart into; its numbers are those of that layer.

    `weight` is `WeightFacts`; `bias` is that of the last layer.
    """

    def __init__(self, like: nn.Conv2d | nn.Linear, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(layers))
        self.shape_of_weight = like.weight.shape
        self.said = {name: getattr(like, name) for name in FACTS if hasattr(like, name)}

    @property
    def weight(self) -> WeightFacts:
        held = next(self.parameters())
        return WeightFacts(self.shape_of_weight, held.dtype, held.device, held.requires_grad)

    @property
    def bias(self) -> Tensor | None:
        *_, last = self
        return last.bias  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        said = self.__dict__.get("said", {})
        return said[name] if name in said else super().__getattr__(name)


class Around(nn.Sequential):
    """A plain module with what goes before or after it, or with hooks; asked for what it has not, it answers for that
    module.

    Args:
        core: the name of that module among `modules`.
    """

    def __init__(self, core: str, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(modules))
        self.core = core

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Of its one input, under whatever name it comes."""
        (given,) = (*args, *kwargs.values())
        return super().forward(given)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or "core" not in self.__dict__:
                raise
            return getattr(super().__getattr__(self.core), name)
