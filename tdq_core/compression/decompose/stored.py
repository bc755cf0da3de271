"""Decomposed layers again, from the weights of their stages as a file keeps them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tdq_core.compression.decompose.plain_layers import conv, filled, spatial, stages
from tdq_core.compression.decompose.spatial import along
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.errors import InputError


def stages_in(name: str, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the stages that the layer `name` is stored in, by stage; empty where it is not."""
    known = {stage for made in IMPLEMENTATIONS.values() for stage in made.stages}
    found = {stage: tensors.get(f"{name}.{stage}.weight") for stage in known}
    return {stage: weight for stage, weight in found.items() if isinstance(weight, Tensor)}


def stored_layers(like: nn.Module, weights: Mapping[str, Tensor]) -> nn.Sequential:
    """The plain layers that a method made of `like`, with `weights` (C_out, C_in / groups, K_h, K_w) by stage.

    The stages that the method says carry stride, padding and dilation of `like`, the last one its bias.

    Raises:
        InputError: no method makes these stages, they do not follow one another, or `like` is no plain layer.
    """
    method = next((made for made in IMPLEMENTATIONS.values() if set(made.stages) == weights.keys()), None)
    if method is None:
        raise InputError(f"no method makes stages called {', '.join(sorted(weights))}")
    if type(like) not in (nn.Conv2d, nn.Linear) or any(w.ndim != like.weight.ndim for w in weights.values()):
        raise InputError(f"a {type(like).__name__} has no such stages")
    assert isinstance(like, nn.Conv2d | nn.Linear)
    order, carriers = method.stages, method.carriers
    if isinstance(like, nn.Linear):
        return stages(like, **{s: _linear(weights[s], like, like.bias if s == order[-1] else None) for s in order})
    if tuple(weights[carriers[axis]].shape[2 + axis] for axis in (0, 1)) != like.kernel_size:
        raise InputError(f"no stage has a kernel of {like.kernel_size[0]} x {like.kernel_size[1]}")
    made, channels = {}, like.in_channels
    for stage in order:
        groups, rest = divmod(channels, weights[stage].shape[1])
        if rest or not groups:
            raise InputError(f"the stage '{stage}' does not take the {channels} channels that arrive there")
        carried = _carried(like, (stage == carriers[0], stage == carriers[1]))
        bias = like.bias if stage == order[-1] else None
        made[stage] = conv(weights[stage], like, bias, groups=groups, **carried)
        channels = len(weights[stage])
    return stages(like, **made)


def _carried(like: nn.Conv2d, axes: tuple[bool, bool]) -> dict[str, Any]:
    """What a stage takes over that carries the directions `axes`, down and across."""
    if all(axes):
        return spatial(like)
    return along(like, axes.index(True)) if any(axes) else {}


def _linear(weight: Tensor, like: nn.Linear, bias: Tensor | None) -> nn.Linear:
    return filled(nn.Linear(weight.shape[1], len(weight), bias=bias is not None), weight, like, bias)
