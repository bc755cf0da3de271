"""A grouped convolution is so many convolutions side by side: each group is factorised by itself, as its own layer.

The weight (C_out, C_in / groups, K_h, K_w) holds one group's kernel below the other's, and so do the sub-layers that
are made of it: what knows of one group only need not know of any others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.factors import Details, Factors
from tdq_core.compression.decompose.plain_layers import conv, spatial, stages
from tdq_core.graph.modules import children


@dataclass(frozen=True)
class Grouped:
    """Factors of each group of a layer, all of one method and at the same ranks."""

    parts: tuple[Factors, ...]

    def to_weight(self) -> Tensor:
        """The approximated weight (C_out, C_in / groups, K_h, K_w)."""
        return torch.cat([part.to_weight() for part in self.parts])


def grouped(parts: Sequence[Factors]) -> Factors:
    """The factors of a layer from those of its groups."""
    return parts[0] if len(parts) == 1 else Grouped(tuple(parts))


def parts_of(factors: Factors) -> tuple[Factors, ...]:
    """The inverse of `grouped`."""
    return factors.parts if isinstance(factors, Grouped) else (factors,)


def groups_of(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.groups if isinstance(layer, nn.Conv2d) else 1


def layers_of_groups(layer: nn.Conv2d | nn.Linear) -> list[nn.Conv2d | nn.Linear]:
    """Each group of `layer` as a layer of its own; the layer itself where it has one."""
    if not isinstance(layer, nn.Conv2d) or layer.groups == 1:
        return [layer]
    kernels = layer.weight.detach().chunk(layer.groups)
    biases = [None] * layer.groups if layer.bias is None else layer.bias.detach().chunk(layer.groups)
    return [conv(kernel, layer, bias, **spatial(layer)) for kernel, bias in zip(kernels, biases, strict=True)]


def side_by_side(like: nn.Conv2d | nn.Linear, modules: Sequence[nn.Sequential]) -> nn.Sequential:
    """One chain of layers that does to each group of channels of `like` what one of `modules`, chains of equal shapes,
    does."""
    if len(modules) == 1:
        return modules[0]
    return stages(like, **{name: _beside([m.get_submodule(name) for m in modules]) for name in children(modules[0])})


def _beside(layers: Sequence[nn.Module]) -> nn.Conv2d:
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    first, biases = convs[0], [layer.bias for layer in convs if layer.bias is not None]
    weight, bias = torch.cat([layer.weight for layer in convs]), torch.cat(biases) if biases else None
    return conv(weight, first, bias, groups=sum(layer.groups for layer in convs), **spatial(first))


def joined(told: Sequence[tuple[Details, ...]], squares: Sequence[float]) -> tuple[Details, ...]:
    """What is told of a layer, from what is told of each of its groups; `squares`: of their kernels' norms."""
    if len(told) == 1:
        return told[0]
    whole = sum(squares)
    shares = [square / whole if whole > 0 else 1 / len(squares) for square in squares]
    return tuple(type(each[0]).joined(each, shares) for each in zip(*told, strict=True))
