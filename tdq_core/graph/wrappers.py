"""What stands around a network and computes nothing of its own: taken off, wherever in the network it stands."""

import sys

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from tdq_core.graph.oddities import hooks, take_off_compiling
from tdq_core.graph.replace import replace


def taken_out(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """What stands inside the compiled, parallel and averaging wrappers around `model`; and the names of their kinds."""
    kinds = []
    while place := _inside(model):
        kinds.append(type(model).__name__)
        model = model.get_submodule(place)
    return model, tuple(kinds)


def without_wrappers(model: nn.Module) -> tuple[str, ...]:
    """Take such wrappers off every part of `model`, in place, and undo `Module.compile`; the names of their kinds."""
    kinds = {type(module).__name__ for module in model.modules() if _inside(module)}
    while found := {name: module for name, module in model.named_modules() if _inside(module)}:
        name, module = next(iter(found.items()))  # replacing one takes the names of those inside it
        replace(model, {name: taken_out(module)[0]})
    for module in model.modules():
        if module._compiled_call_impl is not None:
            kinds.add("Module.compile")
        take_off_compiling(module)
    return tuple(sorted(kinds))


def unwrapped(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Both; and the note that says so, where anything was taken off."""
    inner, around = taken_out(model)
    return inner, note_on((*around, *without_wrappers(inner)))


def note_on(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The sentence on wrappers of these kinds; none where there are none."""
    named = ", ".join(dict.fromkeys(kinds))
    return (f"The model came wrapped ({named}): what is inside is measured.",) if kinds else ()


def _inside(module: nn.Module) -> str:
    """Where a wrapper holds what it wraps; '' for what is no wrapper, and for one whose hooks would be lost."""
    if hooks(module):
        return ""
    if isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
        return "module"
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # seconds to import, and nothing is compiled without it
    return "_orig_mod" if dynamo and isinstance(module, dynamo.OptimizedModule) else ""
