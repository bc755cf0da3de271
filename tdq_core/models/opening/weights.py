"""Weights that torch computes from others before each call, pruned ones too: as the plain weights that come out."""

from torch import nn

from tdq_core.graph.arguments import Arguments
from tdq_core.graph.modules import of_kind
from tdq_core.graph.reparametrized import computed, pruned, resolved
from tdq_core.models.opening.proof import StaysOdd, computes_the_same


def computed_weights(model: nn.Module) -> dict[str, nn.Module]:
    """Modules that hold any."""
    return {name: module for name, module in of_kind(model, nn.Module).items() if computed(module)}


def plain_weights(module: nn.Module, calls: list[Arguments]) -> nn.Module:
    """`module` with plain weights.

    Raises:
        StaysOdd: what is computed is another thing each time.
    """
    try:
        new = resolved(module)
    except ValueError as error:
        raise StaysOdd(str(error)) from error
    if calls and not computes_the_same(module, new, calls):
        names = sorted({step for steps in computed(module).values() for step in steps})
        raise StaysOdd(f"has {', '.join(names)}, which depends on more than its weights")
    return new


def zeros_of(modules: dict[str, nn.Module]) -> tuple[int, int]:
    """Of those `modules` that are pruned, before they are resolved: weights that are zero, and all of them."""
    weights = [
        tensor
        for module in modules.values()
        if pruned(module)
        for name, tensor in resolved(module).named_parameters(recurse=False)
        if name in computed(module)
    ]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
