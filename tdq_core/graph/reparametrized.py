"""Weights that are computed from others before each call, by hooks or by properties, and modules without that."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from tdq_core.graph.oddities import M, twin

_SOURCES: dict[type, tuple[str, ...]] = {
    WeightNorm: ("_g", "_v"),
    SpectralNorm: ("_orig", "_u", "_v"),
    BasePruningMethod: ("_orig", "_mask"),
}
"""Kind of hook -> endings of the names under which it keeps what it computes from."""


def computed(module: nn.Module) -> dict[str, list[str]]:
    """Name of a tensor of `module` -> names of what computes it before each call, for all that is torch's own way."""
    found: dict[str, list[str]] = {}
    for hook in _hooks(module).values():
        found.setdefault(_target(hook), []).append(type(hook).__name__)
    if parametrize.is_parametrized(module):
        for name, steps in _parametrizations(module).items():
            found[name] = [type(step).__name__ for step in steps]
    return found


def pruned(module: nn.Module) -> bool:
    return any(isinstance(hook, BasePruningMethod) for hook in _hooks(module).values())


def resolved(module: M) -> M:
    """The twin of `module` that holds as parameters what is computed there; the sources are gone.

    Raises:
        ValueError: what is computed differs from one time to the next; its text goes on from 'it ...'.
    """
    new = twin(module)
    with torch.no_grad():
        _without_parametrizations(module, new)
        _without_hooks(module, new)
    for kind in ("_state_dict_hooks", "_load_state_dict_pre_hooks"):
        new.__dict__[kind].clear()  # they translate names that are not there any more
    return new


def _without_parametrizations(module: nn.Module, new: nn.Module) -> None:
    if not parametrize.is_parametrized(module):
        return
    values = {}
    for name, steps in _parametrizations(module).items():
        _require_constant(steps, name, [type(step).__name__ for step in steps])
        buffer = not any(True for _ in steps.parameters(recurse=False))
        values[name] = (steps().detach().clone(), buffer)
    new.__class__ = type(module).__bases__[0]  # torch gave each such module a class of its own
    del new._modules["parametrizations"]
    for name, (value, buffer) in values.items():
        if buffer:
            new.register_buffer(name, value)
        else:
            setattr(new, name, nn.Parameter(value, requires_grad=False))


def _without_hooks(module: nn.Module, new: nn.Module) -> None:
    hooks = _hooks(module)
    for name in {_target(hook): None for hook in hooks.values()}:
        _require_constant(partial(_computed, module, hooks, name), name, computed(module)[name])
    for hook in hooks.values():
        hook(new, ())
    values = {_target(hook): getattr(new, _target(hook)).detach().clone() for hook in hooks.values()}
    sources = {source for hook in hooks.values() for source in _sources(hook)}
    for name in {*sources, *values}:
        for held in (new._parameters, new._buffers, new.__dict__):
            held.pop(name, None)
    for key in hooks:
        del new._forward_pre_hooks[key]
    for name, value in values.items():
        if name not in sources:  # a pruned half of a weight norm is no weight
            setattr(new, name, nn.Parameter(value, requires_grad=False))


def _computed(module: nn.Module, hooks: dict[int, Callable[..., None]], name: str) -> Tensor:
    trial = twin(module)
    for hook in hooks.values():
        hook(trial, ())
    value: Tensor = getattr(trial, name)
    return value


def _require_constant(compute: Callable[[], Tensor], name: str, steps: list[str]) -> None:
    first, second = compute(), compute()
    if not torch.equal(first.nan_to_num(), second.nan_to_num()):
        raise ValueError(f"computes its {name} by {', '.join(steps)}, which gives another value each time")


def _parametrizations(module: nn.Module) -> dict[str, parametrize.ParametrizationList]:
    return dict(module.parametrizations.items())  # type: ignore[union-attr, operator]


def _hooks(module: nn.Module) -> dict[int, Callable[..., None]]:
    kinds = tuple(_SOURCES)
    return {key: hook for key, hook in module._forward_pre_hooks.items() if isinstance(hook, kinds)}


def _target(hook: Callable[..., None]) -> str:
    return str(getattr(hook, "name", None) or hook._tensor_name)  # type: ignore[attr-defined]


def _sources(hook: Callable[..., None]) -> Iterator[str]:
    for kind, endings in _SOURCES.items():
        if isinstance(hook, kind):
            yield from (_target(hook) + ending for ending in endings)
