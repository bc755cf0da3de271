"""From factors to layers: a decomposed convolution is a `Sequential` of plain layers that carries everything over.

Stride, padding, dilation and padding mode go to the sub-layer with the kernel, the bias to the last one. The first
1x1 sub-layer has no bias, so it commutes with every padding mode. What cannot be carried is refused before
(see `layer_table`).
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.memo import factors_of
from tdq_core.compression.decompose.methods import Factors, Options, describe
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2
from tdq_core.errors import RunFailed
from tdq_core.graph.replace import replace
from tdq_core.ranks.plan import LayerPlan, Plan
from tdq_core.records.record import LayerRecord
from tdq_core.system.progress import Progress, silent

DEFAULTS = Options()
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Factorized:
    """The layers that replace one layer, and how far they are from it.

    Attributes:
        module: a Sequential of plain Conv2d or Linear layers.
        factors: what they were built from.
        detail: what the method tells of itself, for the record.
        rel_error: |W - W~| / |W| (Frobenius), of the factors in float64.
    """

    module: nn.Sequential
    factors: Factors
    rel_error: float
    detail: dict[str, Any]


def factorize(
    layer: nn.Conv2d | nn.Linear, method: str, ranks: tuple[int, ...], *, options: Options = DEFAULTS
) -> Factorized:
    """Decompose one layer by `method` at `ranks` (already checked against `ranks.costs.max_ranks`)."""
    weight = layer.weight.detach()
    kernel = weight[:, :, None, None] if isinstance(layer, nn.Linear) else weight  # (C_out, C_in, K_h, K_w)
    factors = factors_of(kernel, method, ranks, options)
    return assemble(layer, method, factors, describe(factors, kernel))


def assemble(layer: nn.Conv2d | nn.Linear, method: str, factors: Factors, told: dict[str, Any]) -> Factorized:
    """The layers that `factors` of `layer` make, with what is `told` of them."""
    weight = layer.weight.detach()
    kernel = weight[:, :, None, None] if isinstance(layer, nn.Linear) else weight  # (C_out, C_in, K_h, K_w)
    build: Callable[..., nn.Sequential] = _linear if isinstance(layer, nn.Linear) else _BUILD[method]
    module = build(layer, factors)
    error = rel_error(kernel, factors.to_weight())
    return Factorized(module, factors, error, told | {"factor_spread": _factor_spread(module)})


def _factor_spread(module: nn.Sequential) -> dict[str, float]:
    """By sub-layer, the largest entry over the median of the channels' largest entries: what one scale a factor has
    to span."""
    found = {}
    for name, stage in module.named_children():
        assert isinstance(stage, nn.Conv2d | nn.Linear)
        largest = stage.weight.detach().abs().flatten(1).amax(1)
        middle = float(largest.median())
        found[name] = float(largest.max()) / middle if middle > 0 else 1.0
    return found


def apply_plan(
    model: nn.Module, plan: Plan, *, options: Options = DEFAULTS, on_progress: Progress = silent
) -> tuple[nn.Module, tuple[LayerRecord, ...]]:
    """A copy of `model` with the layers of `plan` replaced, and a record of every layer; `model` is not touched."""
    model = copy.deepcopy(model)
    made: dict[str, Factorized] = {}
    chosen = plan.decomposed()
    on_progress("decompose", 0, len(chosen))
    for part in chosen:
        made[part.layer.name] = _replace(model, part, options)
        on_progress("decompose", len(made), len(chosen))
    return model.eval(), tuple(record(part, made.get(part.layer.name)) for part in plan.layers)


def record(part: LayerPlan, made: Factorized | None) -> LayerRecord:
    """What is kept of one layer: its plan, and how it was `made` (None: it was left alone)."""
    return LayerRecord(
        part.layer.name,
        part.method,
        part.ranks,
        part.cost.params,
        part.cost.macs,
        part.layer.params,
        part.layer.macs,
        made.rel_error if made else None,
        part.skipped_because,
        made.detail if made else {},
    )


def _replace(model: nn.Module, part: LayerPlan, options: Options) -> Factorized:
    layer = model.get_submodule(part.layer.name)
    assert isinstance(layer, nn.Conv2d | nn.Linear), "the plan was made from this model's own table"
    made = factorize(layer, part.method, part.ranks, options=options)
    if not made.rel_error < float("inf"):
        raise RunFailed(
            f"The {part.method} factors of layer '{part.layer.name}' are not finite; try another rank or method."
        )
    replace(model, {part.layer.name: made.module})
    return made


def _conv(weight: Tensor, like: nn.Conv2d, bias: Tensor | None = None, **carried: Any) -> nn.Conv2d:
    """A Conv2d that holds `weight` (C_out, C_in / groups, K_h, K_w) in the precision of `like`."""
    groups = carried.get("groups", 1)
    conv = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        bias=bias is not None,
        **carried,
    )
    return _filled(conv, weight, like, bias)


def _filled(new: Layer, weight: Tensor, like: nn.Conv2d | nn.Linear, bias: Tensor | None) -> Layer:
    new.to(like.weight.dtype)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None and new.bias is not None:
            new.bias.copy_(bias)
    return new.requires_grad_(False)


def _spatial(like: nn.Conv2d) -> dict[str, Any]:
    """What the sub-layer with the kernel takes over from the original."""
    return {
        "stride": like.stride,
        "padding": like.padding,
        "dilation": like.dilation,
        "padding_mode": like.padding_mode,
    }


def _as_1x1(matrix: Tensor) -> Tensor:
    return matrix[:, :, None, None]


def _tucker2(like: nn.Conv2d, factors: Tucker2) -> nn.Sequential:
    return _stages(
        input=_conv(_as_1x1(factors.in_.T), like),
        core=_conv(factors.core, like, **_spatial(like)),
        output=_conv(_as_1x1(factors.out), like, like.bias),
    )


def _cp(like: nn.Conv2d, factors: Cp) -> nn.Sequential:
    rank = factors.out.shape[1]
    depthwise = factors.spatial.T.reshape(rank, 1, *factors.kernel)
    return _stages(
        input=_conv(_as_1x1(factors.in_.T), like),
        depthwise=_conv(depthwise, like, groups=rank, **_spatial(like)),
        output=_conv(_as_1x1(factors.out), like, like.bias),
    )


def _svd(like: nn.Conv2d, factors: Svd) -> nn.Sequential:
    return _stages(
        inner=_conv(factors.inner, like, **_spatial(like)),
        output=_conv(_as_1x1(factors.out), like, like.bias),
    )


def _linear(like: nn.Linear, factors: Svd) -> nn.Sequential:
    inner = factors.inner.flatten(1)
    return _stages(
        inner=_filled(nn.Linear(inner.shape[1], inner.shape[0], bias=False), inner, like, None),
        output=_filled(
            nn.Linear(inner.shape[0], len(factors.out), bias=like.bias is not None),
            factors.out,
            like,
            like.bias,
        ),
    )


def _stages(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


_BUILD: dict[str, Callable[..., nn.Sequential]] = {"tucker2": _tucker2, "cp": _cp, "svd": _svd}
