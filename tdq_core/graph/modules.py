"""The modules of a network by name; one that is reached under several names bears the first."""

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

Layer = nn.Conv2d | nn.Linear


def of_kind(model: nn.Module, *kinds: type[M]) -> dict[str, M]:
    """The modules of these kinds, subclasses too."""
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def layers(model: nn.Module) -> dict[str, Layer]:
    """The convolutions (2-d) and linear layers, subclasses of them too."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def plain_layers(model: nn.Module) -> dict[str, Layer]:
    """Those of `layers` that behave as torch's own do: no subclass, which may pad, cast or standardise first."""
    return {name: layer for name, layer in layers(model).items() if type(layer) in (nn.Conv2d, nn.Linear)}


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that hold no other ones."""
    return {name: module for name, module in model.named_modules() if not children(module)}


def kinds(model: nn.Module) -> list[type[nn.Module]]:
    """The classes of all modules, each once, by name."""
    found = {type(module) for module in model.modules()}
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def children(module: nn.Module) -> dict[str, nn.Module]:
    """What `module` itself holds."""
    return dict(module.named_children())
