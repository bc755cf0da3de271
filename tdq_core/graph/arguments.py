"""With what modules are called."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Of one call: positional ones, and those by keyword."""

KEPT = 3
"""Calls of a module that are remembered, the first ones of a pass: a proof needs some, not all."""


def arguments(model: nn.Module, names: Iterable[str], example: Tensor) -> dict[str, list[Arguments]]:
    """The arguments, copied, of the first calls of each of the modules `names` when `example` (N, C, H, W) passes."""
    found: dict[str, list[Arguments]] = {name: [] for name in names}

    def see(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if len(found[name]) < KEPT:
                found[name].append(pytree.tree_map_only(Tensor, lambda t: t.detach().clone(), (args, kwargs)))

        return hook

    handles = [model.get_submodule(n).register_forward_pre_hook(see(n), with_kwargs=True, prepend=True) for n in found]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return found
