"""Parts that torch has compiled or scripted: the first run as they were written, in the second nothing is replaced."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tdq_core.graph.modules import of_kind


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
