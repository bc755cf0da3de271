"""Altering what flows into modules and out of them: how a network that computes in float32 is made to round."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tdq_core.graph.modules import leaves

Change = Callable[[Tensor], Tensor]


def change_inputs(model: nn.Module, changes: Mapping[str, Change]) -> None:
    """From now on the modules named in `changes` compute on their first tensor changed so."""
    _inputs_changed(model, changes)


@contextmanager
def inputs_changed(model: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """`change_inputs`, as long as the context lasts."""
    handles = _inputs_changed(model, changes)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def change_leaves(model: nn.Module, change: Change) -> None:
    """From now on every module that holds no others computes on changed tensors and gives changed tensors.

    Floating-point tensors are changed, in lists, tuples and dicts too; everything else passes as it is.
    """
    for module in leaves(model).values():
        module.register_forward_pre_hook(
            lambda _, args, kwargs: (_each(args, change), _each(kwargs, change)), with_kwargs=True
        )
        module.register_forward_hook(lambda _, __, output: _each(output, change))


def _inputs_changed(model: nn.Module, changes: Mapping[str, Change]) -> list[RemovableHandle]:
    return [
        model.get_submodule(name).register_forward_pre_hook(_changing_first(change), with_kwargs=True)
        for name, change in changes.items()
    ]


def _changing_first(change: Change) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, {**kwargs, first: change(kwargs[first])}

    return hook


def _each(value: Any, change: Change) -> Any:
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    if type(value) is dict:
        return {key: _each(each, change) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(_each(each, change) for each in value)
    if type(value) in (list, tuple):
        return type(value)(_each(each, change) for each in value)
    return value
