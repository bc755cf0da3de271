"""Layers in place of layers: factorised one by one, or all those of a plan."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tdq_core.compression.decompose.factors import Details, Factors, Options
from tdq_core.compression.decompose.groups import groups_of, layers_of_groups, parts_of, side_by_side
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.memory import Memory, Wanted
from tdq_core.compression.methods import IMPLEMENTATIONS, told_of
from tdq_core.errors import RunFailed
from tdq_core.graph.replace import replace
from tdq_core.ranks.plan import LayerPlan, Plan
from tdq_core.system.progress import Progress, silent

DEFAULTS = Options()


class Spread(Details, frozen=True):
    """By sub-layer, the largest entry over the median of the channels' largest entries: what one scale a factor has to
    span."""

    factor_spread: dict[str, float]


class InGroups(Details, frozen=True):
    """Of a grouped convolution: the number of its groups, each of which has the ranks."""

    groups: int


@dataclass(frozen=True)
class Factorized:
    """The layers that replace one layer, and how far they are from it.

    Attributes:
        module: a Sequential of plain Conv2d or Linear layers.
        factors: what they were built from.
        details: what the steps tell of themselves, for the record.
        rel_error: |W - W~| / |W| (Frobenius), of the factors in float64.
    """

    module: nn.Sequential
    factors: Factors
    rel_error: float
    details: tuple[Details, ...]


Made = dict[str, Factorized]
"""By name, the layers that were factorised."""


def kernel_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """The weight as (C_out, C_in / groups, K_h, K_w)."""
    weight = layer.weight.detach()
    return weight[:, :, None, None] if isinstance(layer, nn.Linear) else weight


def factorize(
    layer: nn.Conv2d | nn.Linear,
    method: str,
    ranks: tuple[int, ...],
    *,
    options: Options = DEFAULTS,
    memory: Memory | None = None,
) -> Factorized:
    """Decompose one layer by `method` at `ranks` (already checked against `ranks.costs.max_ranks`), of each group."""
    kernel = kernel_of(layer)
    factors = (memory or Memory()).factors(kernel, method, ranks, options, groups=groups_of(layer))
    return assemble(layer, method, factors, told_of(method, factors, kernel))


def assemble(layer: nn.Conv2d | nn.Linear, method: str, factors: Factors, details: tuple[Details, ...]) -> Factorized:
    """The layers that `factors` of `layer` make, with what is told of them."""
    build, layers = IMPLEMENTATIONS[method].build, layers_of_groups(layer)
    module = side_by_side(layer, [build(one, part) for one, part in zip(layers, parts_of(factors), strict=True)])
    error = rel_error(kernel_of(layer), factors.to_weight())
    more = [InGroups(groups=len(layers))] if len(layers) > 1 else []
    return Factorized(module, factors, error, (*details, Spread(factor_spread=_factor_spread(module)), *more))


def _factor_spread(module: nn.Sequential) -> dict[str, float]:
    found = {}
    for name, stage in module.named_children():
        assert isinstance(stage, nn.Conv2d | nn.Linear)
        largest = stage.weight.detach().abs().flatten(1).amax(1)
        middle = float(largest.median())
        found[name] = float(largest.max()) / middle if middle > 0 else 1.0
    return found


def apply_plan(
    model: nn.Module,
    plan: Plan,
    *,
    options: Options = DEFAULTS,
    memory: Memory | None = None,
    on_progress: Progress = silent,
) -> tuple[nn.Module, Made]:
    """A copy of `model` with the layers of `plan` replaced, and what was made of them; `model` is not touched."""
    model = copy.deepcopy(model)
    found = find_factors(model, plan.decomposed(), options, memory or Memory(), on_progress=on_progress)
    made: Made = {}
    for part, factors in found:
        layer, name = planned_layer(model, part), part.layer.name
        details = told_of(part.method, factors, kernel_of(layer))
        made[name] = require_finite(part, assemble(layer, part.method, factors, details))
        replace(model, {name: made[name].module})
    return model.eval(), made


def find_factors(
    model: nn.Module,
    parts: Sequence[LayerPlan],
    options: Options,
    memory: Memory,
    *,
    on_progress: Progress,
    stage: str = "decompose",
) -> list[tuple[LayerPlan, Factors]]:
    """Factors of the weights of each planned layer of `model`, found side by side."""
    layers = [planned_layer(model, part) for part in parts]
    wanted = [Wanted(kernel_of(layer), part.method, part.ranks, options, groups_of(layer))
              for layer, part in zip(layers, parts, strict=True)]  # fmt: skip
    return list(zip(parts, memory.find(wanted, on_progress=on_progress, stage=stage), strict=True))


def find_starts(
    model: nn.Module, parts: Sequence[LayerPlan], options: Options, memory: Memory, *, on_progress: Progress
) -> None:
    """Let `memory` know the factors of the weights at which fits to outputs begin: one fit waits for another, these
    need not."""
    starting = [part for part in parts if IMPLEMENTATIONS[part.method].fit_starts]
    if starting:
        find_factors(model, starting, options, memory, on_progress=on_progress, stage="decompose the weights")


def planned_layer(model: nn.Module, part: LayerPlan) -> nn.Conv2d | nn.Linear:
    layer = model.get_submodule(part.layer.name)
    assert isinstance(layer, nn.Conv2d | nn.Linear), "the plan was made from this model's own table"
    return layer


def require_finite(part: LayerPlan, made: Factorized) -> Factorized:
    """RunFailed where the factors hold NaN or infinite values."""
    if made.rel_error < float("inf"):
        return made
    raise RunFailed(
        f"The {part.method} factors of layer '{part.layer.name}' are not finite; try another rank or method."
    )
