"""From factors to layers: a decomposed convolution is a `Sequential` of plain layers that carries everything over.

Stride, padding, dilation and padding mode go to the sub-layer with the kernel, the bias to the last one. The first
1x1 sub-layer has no bias, so it commutes with every padding mode. What cannot be carried is refused before
(see `tdq_core.graph.layer_table`).
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2
from tdq_core.graph.stand_in import Factored

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def conv(weight: Tensor, like: nn.Conv2d, bias: Tensor | None = None, **carried: Any) -> nn.Conv2d:
    """A Conv2d that holds `weight` (C_out, C_in / groups, K_h, K_w) in the precision of `like`."""
    groups = carried.get("groups", 1)
    conv = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        bias=bias is not None,
        **carried,
    )
    return filled(conv, weight, like, bias)


def filled(new: Layer, weight: Tensor, like: nn.Conv2d | nn.Linear, bias: Tensor | None) -> Layer:
    new.to(like.weight.dtype)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None and new.bias is not None:
            new.bias.copy_(bias)
    return new.requires_grad_(False)


def spatial(like: nn.Conv2d) -> dict[str, Any]:
    """What the sub-layer with the kernel takes over from the original."""
    return {
        "stride": like.stride,
        "padding": like.padding,
        "dilation": like.dilation,
        "padding_mode": like.padding_mode,
    }


def as_1x1(matrix: Tensor) -> Tensor:
    return matrix[:, :, None, None]


def tucker2_layers(like: nn.Conv2d, factors: Tucker2) -> nn.Sequential:
    return stages(
        like,
        input=conv(as_1x1(factors.in_.T), like),
        core=conv(factors.core, like, **spatial(like)),
        output=conv(as_1x1(factors.out), like, like.bias),
    )


def cp_layers(like: nn.Conv2d, factors: Cp) -> nn.Sequential:
    rank = factors.out.shape[1]
    depthwise = factors.spatial.T.reshape(rank, 1, *factors.kernel)
    return stages(
        like,
        input=conv(as_1x1(factors.in_.T), like),
        depthwise=conv(depthwise, like, groups=rank, **spatial(like)),
        output=conv(as_1x1(factors.out), like, like.bias),
    )


def svd_layers(like: nn.Conv2d | nn.Linear, factors: Svd) -> nn.Sequential:
    if isinstance(like, nn.Linear):
        return linear_layers(like, factors)
    return stages(
        like,
        inner=conv(factors.inner, like, **spatial(like)),
        output=conv(as_1x1(factors.out), like, like.bias),
    )


def linear_layers(like: nn.Linear, factors: Svd) -> nn.Sequential:
    inner = factors.inner.flatten(1)
    return stages(
        like,
        inner=filled(nn.Linear(inner.shape[1], inner.shape[0], bias=False), inner, like, None),
        output=filled(
            nn.Linear(inner.shape[0], len(factors.out), bias=like.bias is not None),
            factors.out,
            like,
            like.bias,
        ),
    )


def stages(like: nn.Conv2d | nn.Linear, **layers: nn.Module) -> nn.Sequential:
    return Factored(like, layers)
