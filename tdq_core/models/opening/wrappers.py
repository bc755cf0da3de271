"""Modules that only hold another one and call it, and what torch.compile puts around a call."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from tdq_core.graph.modules import children, of_kind
from tdq_core.graph.oddities import hooks, take_off_compiling
from tdq_core.graph.replace import replace

_COMPILED = "_orig_mod"
_HELD = {DataParallel: "module", DistributedDataParallel: "module", AveragedModel: "module"}


def without_wrappers(model: nn.Module) -> nn.Module:
    """`model` without DataParallel and its like, averaging, and compiling, in place; names lose 'module.' and the like.

    A wrapper with hooks stays.
    """
    for module in of_kind(model, nn.Module).values():
        take_off_compiling(module)
    while found := {name: held for name, module in of_kind(model, nn.Module).items() if (held := _held(module))}:
        name = min(found, key=len)
        model = replace(model, {name: found[name]})
    return model


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within, what torch.compile has made runs as it was written, and nothing is compiled."""
    if "torch._dynamo" not in sys.modules:  # nothing has been
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def scripted(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost parts that are scripted or traced: nothing in them can be replaced."""
    found = of_kind(model, torch.jit.ScriptModule)
    return {name: part for name, part in found.items() if not any(_within(name, other) for other in found)}


def _within(name: str, other: str) -> bool:
    return name != other and (not other or name.startswith(f"{other}."))


def _held(module: nn.Module) -> nn.Module | None:
    name = _HELD.get(type(module)) or (_COMPILED if _COMPILED in children(module) else None)
    return children(module)[name] if name and not hooks(module) else None
