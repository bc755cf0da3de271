"""Altering what flows into modules and out of them: how a network that computes in float32 is made to round."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tdq_core.errors import RunFailed
from tdq_core.graph.modules import leaves

Change = Callable[[Tensor], Tensor]


def change_inputs(model: nn.Module, changes: Mapping[str, Change]) -> None:
    """From now on the modules named in `changes` compute on their first tensor changed so."""
    _inputs_changed(model, changes)


def change_inputs_by_call(model: nn.Module, changes: Mapping[str, Sequence[Change]]) -> None:
    """`change_inputs`, each call in a pass of `model` with its own; where there is one change, it serves all calls."""
    calls: Counter[str] = Counter()
    if any(len(each) > 1 for each in changes.values()):
        model.register_forward_pre_hook(lambda *_: calls.clear())

    def of_call(name: str, each: Sequence[Change]) -> Change:
        def change(values: Tensor) -> Tensor:
            calls[name] += 1
            if calls[name] > len(each):
                raise RunFailed(
                    f"The layer '{name}' is called more than the {len(each)} times in a pass for which it was "
                    "prepared: its calls depend on the images, and so they have no grids of their own."
                )
            return each[calls[name] - 1](values)

        return change

    _inputs_changed(model, {name: e[0] if len(e) == 1 else of_call(name, e) for name, e in changes.items()})


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

    Floating-point tensors are changed, in lists, tuples, dicts and dataclasses too; everything else passes as it is.
    What functions compute between modules is not changed until a module takes it.
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
        place = next((i for i, each in enumerate(args) if isinstance(each, Tensor)), None)
        if place is not None:
            return (*args[:place], change(args[place]), *args[place + 1 :]), kwargs
        name = next((n for n, each in kwargs.items() if isinstance(each, Tensor)), None)
        return args, kwargs if name is None else {**kwargs, name: change(kwargs[name])}

    return hook


def _each(value: Any, change: Change) -> Any:
    """`value` with its tensors changed, in containers of every kind; a container without tensors stays what it is."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(_each(each, change) for each in value)
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_each(each, change) for each in value)
    if isinstance(value, Mapping | list):  # of a class of its own: a copy keeps what else it carries
        return _in_copy(value, list(value.items() if isinstance(value, Mapping) else enumerate(value)), change)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _of_fields(value, change)
    return value


def _in_copy(value: Any, items: list[tuple[Any, Any]], change: Change) -> Any:
    copied = copy.copy(value)
    for key, each in items:
        if (changed := _each(each, change)) is not each:
            copied[key] = changed
    return copied


def _of_fields(value: Any, change: Change) -> Any:
    copied = copy.copy(value)
    for field in dataclasses.fields(value):
        if hasattr(value, field.name):
            object.__setattr__(copied, field.name, _each(getattr(value, field.name), change))
    return copied
