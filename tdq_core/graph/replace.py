"""Putting one module in another's place, wherever that is reached; and the proof that it runs nowhere any more."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from tdq_core.errors import RunFailed
from tdq_core.graph.trace import trace


def replace(model: nn.Module, modules: Mapping[str, nn.Module]) -> nn.Module:
    """Put `modules` in the places of those that bear their names, in place: under every name that these are reached by,
    and in every list, tuple and dict that a module of the network holds.

    Returns:
        `model`; where it is itself replaced (the name ''), what replaces it.
    """
    new = {id(model.get_submodule(name)): module for name, module in modules.items()}
    for module in list(model.modules()):
        _exchanged(module._modules, new)
        for key, value in _attributes(module).items():
            vars(module)[key] = _exchanged(value, new)
    return modules.get("", model)


def references(model: nn.Module, module: nn.Module) -> tuple[str, ...]:
    """All names by which `module` is reached in `model`: dotted ones, and 'blocks[0]' where a plain list holds it."""
    return tuple(dict.fromkeys(name for name, found in _modules_by_name(model) if found is module))


def adopt(model: nn.Module) -> tuple[str, ...]:
    """Make modules that stand in plain lists, tuples and dicts only parts of the network, in place; their names.

    Torch sees none of their weights otherwise: they are not counted, not copied to a file, not loaded.
    """
    known, taken = {id(module) for module in model.modules()}, []
    while strangers := [(name, module) for name, module in _modules_by_name(model) if id(module) not in known]:
        name, module = strangers[0]
        owner, _, last = name.rpartition(".")
        key = last.replace("[", "_").replace("]", "")
        model.get_submodule(owner).add_module(key, module)
        known.update(id(each) for each in module.modules())
        taken.append(_joined(owner, key))
    return tuple(taken)


def drop(model: nn.Module, names: Mapping[str, str]) -> None:
    """Take the modules `names` (with what each is) out of `model`, in place: no image reaches them."""
    replace(model, {name: Absent(name, kind) for name, kind in names.items()})


class Absent(nn.Module):
    """Stands where a module stood that no image reached; should one reach it, that is a failure."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self.name, self.kind = name, kind

    def forward(self, *_: Any, **__: Any) -> Any:
        raise RunFailed(
            f"The part '{self.name}' ({self.kind}) ran, though no image reached it when the model was opened: its way "
            "depends on the images, which TDQ does not follow."
        )


def require_replaced(model: nn.Module, example: Tensor) -> None:
    """RunFailed where `model` computes with parameters that are not its own: those of what was replaced in it, which
    something still reaches (a closure, an object that is no module)."""
    if foreign := trace(model, (), example).foreign:
        shapes = ", ".join(str(list(shape)) for shape in foreign.values())
        raise RunFailed(
            "Layers of the original network still run inside the compressed one, for something reaches them beside the "
            f"network's own modules (a closure, say); their weights have the shapes {shapes}. Leave these layers dense."
        )


def skip(module: nn.Module, skipped: bool) -> None:
    """From now on `module` passes on what it takes, or, where it is not `skipped` any more, computes again."""
    module.__dict__.pop("forward", None)
    if skipped:
        module.forward = _pass_on  # an attribute of the instance hides the method


def _pass_on(x: Tensor) -> Tensor:
    return x


def _modules_by_name(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every place in which a module of the network stands, by the name of the place; a module has several."""
    for name, module in model.named_modules():
        for key, child in module._modules.items():
            if child is not None:
                yield _joined(name, key), child
        for key, value in _attributes(module).items():
            yield from _held(_joined(name, key), value, ())


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What it keeps beside its own modules and tensors."""
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


def _held(name: str, value: Any, within: tuple[int, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Modules in a plain container, at any depth."""
    if isinstance(value, nn.Module):
        yield name, value
    elif isinstance(value, dict | list | tuple) and id(value) not in within:
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _held(f"{name}[{key}]", each, (*within, id(value)))


def _exchanged(value: Any, new: Mapping[int, nn.Module], within: tuple[int, ...] = ()) -> Any:
    """`value` with the modules `new` in the places of those with their ids; lists and dicts stay the same objects."""
    if isinstance(value, nn.Module):
        return new.get(id(value), value)
    if not isinstance(value, dict | list | tuple) or id(value) in within:
        return value
    within = (*within, id(value))
    if isinstance(value, tuple):
        made = [_exchanged(each, new, within) for each in value]
        same = all(a is b for a, b in zip(made, value, strict=True))
        return value if same else value._make(made) if hasattr(value, "_make") else type(value)(made)
    for key, each in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if (other := _exchanged(each, new, within)) is not each:
            value[key] = other
    return value


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
