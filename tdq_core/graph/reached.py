"""Which weights of a network an image reaches: a head that only training uses is stored and computes nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tdq_core.graph.observe import tensors


def unreached(model: nn.Module, example: Tensor) -> frozenset[str]:
    """Names in the state dict of the tensors of modules that have parameters of which no operation takes any while
    `example` (N, C, H, W) passes.

    Operations count, not calls of modules: a weight that a function takes is reached. What runs within a scripted
    module is not seen, so that all of its tensors count as reached.
    """
    taken = _Taken()
    with taken, torch.no_grad():
        model(example)
    names: set[str] = set()
    scripted = tuple(n for n, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule))
    for name, module in model.named_modules():
        own = {**module._parameters, **module._buffers}
        idle = any(p is not None for p in module._parameters.values()) and not any(
            id(t) in taken.ids for t in own.values()
        )
        if idle and not name.startswith(scripted or (" ",)):
            names |= {f"{name}.{each}" if name else each for each in own}
    return frozenset(names & model.state_dict().keys())


class _Taken(TorchFunctionMode):
    """Keeps the identities of all tensors that operations take."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.ids |= {id(tensor) for tensor in tensors((args, kwargs or {}))}
        return func(*args, **(kwargs or {}))
