"""What makes a module another than a plain one of its class: overridden or patched methods, hooks, weights that are not
its own parameters. And copies of modules without some of that."""

import copy
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_HOW = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
        "_is_full_backward_hook")  # fmt: skip
METHODS = ("__call__", "forward", "_conv_forward")
"""Where what a layer computes is written."""


def oddities(module: nn.Module, plain: tuple[type[nn.Module], ...]) -> list[str]:
    """Why `module` may compute something else than the class of `plain` that it is of; none: it is one of those.

    The words go on from 'it ...': 'is a Conv2dSame', 'has the hook SpectralNorm', 'has a forward of its own'.
    """
    found = [] if type(module) in plain else [f"is a {type(module).__name__}"]
    found += [f"has the hook {name}" for name in hooks(module)]
    found += [f"has a {name} of its own" for name in patched(module)]
    return found + [f"takes its {name} from elsewhere" for name in borrowed(module)]


def hooks(module: nn.Module) -> list[str]:
    """Names of what runs before and after `module`, forwards and backwards."""
    return [_called(hook) for kind in HOOKS for hook in getattr(module, kind).values()]


def move_hooks(old: nn.Module, new: M) -> M:
    """`new`, with the hooks of `old` on it."""
    for kind in (*HOOKS, *_HOW):
        if kind in old.__dict__:
            new.__dict__[kind] = copy.copy(old.__dict__[kind])
    return new


def patched(module: nn.Module) -> list[str]:
    """Methods of `METHODS` that the instance hides by one of its own."""
    return [name for name in METHODS if name in module.__dict__]


def overrides(module: nn.Module, plain: type[nn.Module]) -> bool:
    """Whether `module`, of a subclass of `plain`, computes by other methods than that; attributes are not judged."""
    inherited = all(getattr(type(module), name, None) is getattr(plain, name, None) for name in METHODS)
    return not inherited or bool(patched(module))


def borrowed(module: nn.Module) -> list[str]:
    """Of weight and bias those that are there and are no parameters of `module`: somebody sets or computes them."""
    return [
        name
        for name in ("weight", "bias")
        if name not in module._parameters and isinstance(getattr(module, name, None), Tensor)
    ]


def twin(module: M) -> M:
    """Another module of the same class, with the same parameters, buffers, children and hooks; what is then set, added
    or taken away on one of the two stays with it."""
    new = object.__new__(type(module))
    for name, value in module.__dict__.items():
        if isinstance(value, MethodType) and value.__self__ is module:
            value = MethodType(value.__func__, new)
        new.__dict__[name] = copy.copy(value) if isinstance(value, dict | list | set) else value
    return new


def without_hooks(module: M) -> M:
    """Its twin, and no hook on it."""
    new = twin(module)
    for kind in HOOKS:
        new.__dict__[kind].clear()
    return new


def copied(module: M) -> M:
    """A deep copy. Tensors that modules hold as plain attributes and that torch refuses to copy, since they have been
    computed from others, lose that history."""
    held = (value for each in module.modules() for value in each.__dict__.values() if isinstance(value, Tensor))
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf}
    return copy.deepcopy(module, memo)


def take_off_compiling(module: nn.Module) -> None:
    """Take from `module` itself, in place, what torch.compile has put around its call."""
    module.__dict__.pop("_compiled_call_impl", None)
    original = getattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable", None)
    if original is not None:
        module.__dict__.pop("forward")
        if getattr(original, "__func__", None) is not type(module).forward:
            module.__dict__["forward"] = original


def _called(hook: Callable[..., Any] | Mapping[str, Any]) -> str:
    return getattr(hook, "__name__", None) or type(hook).__name__
