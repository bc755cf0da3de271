"""Where modules come from: a registered factory, one in a file or a package of your own, or a name of timm's."""

import contextlib
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tdq_core.errors import InputError
from tdq_core.models.own_code import PREFIX, OwnCode
from tdq_core.models.registry import BRING_YOUR_OWN
from tdq_core.models.sources import named_sources
from tdq_core.system.containment import contained

TIMM = "timm:"
_COMPAT = "tdq_core.system.torchvision_compat"  # before anybody else's code imports torchvision


@dataclass(frozen=True)
class Built:
    """A model fresh from its factory.

    Attributes:
        code: gives what stands for its code in digests: a registered name, timm's name and version, or the SHA-256 of
            the files and versions that it is made of (see `sources`), with the factory's name. To be asked when the
            model has run, for code may import when it runs.
        config: what the model itself says of its inputs (timm's `pretrained_cfg` or a `default_cfg`); may be empty.
        weights_source: a sentence, where the factory brought weights along.
    """

    module: nn.Module
    code: Callable[[], str]
    config: dict[str, Any]
    weights_source: str


def build_registered(name: str, factory: str) -> Built:
    module_name, function = factory.split(":")
    module = getattr(importlib.import_module(module_name), function)()
    return Built(module, lambda: name, {}, "")


def build_your_own(name: str, *, seed: int) -> Built:
    """Import 'file.py:factory' or 'package.module:factory', own files afresh, and call it without arguments.

    A module that stands there under the factory's name is taken as it is.
    """
    where, _, function = name.rpartition(":")
    if not where or not function.isidentifier():
        raise InputError(f"'{name}' names no factory: {BRING_YOUR_OWN}.")
    path = Path(where) if where.endswith(".py") else None
    if path and not _is_file(path):
        raise InputError(f"The model file '{where}' does not exist.")
    importlib.import_module(_COMPAT)
    sources, own = named_sources(name), OwnCode(path.resolve().parent if path else Path.cwd())
    with guarded(name, f"Importing '{where}'", program=where), own.importable():
        module = own.file(path) if path else importlib.import_module(where)
    factory: Any = getattr(module, function, None)
    _require_factory(factory, where, function)
    with guarded(name, f"Calling the factory '{name}'", program=where), own.importable():
        built = factory if isinstance(factory, nn.Module) else factory()
    if not isinstance(built, nn.Module):
        raise InputError(f"The factory '{name}' must return a torch.nn.Module. Got {_named(built)}.")

    def code() -> str:
        return f"{sources.digest(own.loaded.items())}:{function}"

    return Built(built, code, _config_of(built), f"as the factory made them, seed {seed}")


def build_timm(name: str, *, pretrained: bool, seed: int) -> Built:
    """A model of timm's; with `pretrained`, its weights come through timm, from its cache or the network."""
    importlib.import_module(_COMPAT)
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise InputError(f"'{name}' needs the package timm: pip install timm.") from error
    with guarded(name, f"Building '{name}'"):
        model = timm.create_model(name.removeprefix(TIMM), pretrained=pretrained)
    source = f"timm {timm.__version__}, {name.removeprefix(TIMM)}" if pretrained else f"random, seed {seed}"
    code = f"{name}@{timm.__version__}"
    return Built(model, lambda: code, _config_of(model), source)


@contextlib.contextmanager
def guarded(name: str, doing: str, program: str | None = None) -> Iterator[None]:
    """Run other people's code within, contained; whatever it raises becomes one sentence."""
    try:
        with contained(doing, program):
            yield
    except (InputError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if isinstance(error, SystemExit):  # one of ours: what code raises itself is a sentence already
            raise
        raise InputError(f"The model '{name}' could not be built: {failure(error)}.") from error


def failure(error: BaseException) -> str:
    """An exception of other people's as part of a sentence."""
    text = " ".join(re.sub(rf"{PREFIX}\d+\.", "", str(error)).split())[:300].rstrip(".") or "no further text"
    return f"{type(error).__name__}: {text}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _require_factory(factory: Any, where: str, function: str) -> None:
    if not callable(factory):
        raise InputError(f"'{where}' has no function '{function}'.")
    with contextlib.suppress(TypeError, ValueError):  # of what has no signature
        needed = [p.name for p in inspect.signature(factory).parameters.values() if _is_needed(p)]
        if needed and not isinstance(factory, nn.Module):
            raise InputError(
                f"The factory '{where}:{function}' needs arguments ({', '.join(needed)}) and is called without any: "
                "give them defaults, or write a function beside it that gives them."
            )


def _is_needed(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variable


def _named(built: Any) -> str:
    kind = type(built).__name__
    if isinstance(built, list | tuple):
        return f"a {kind} of {', '.join(type(each).__name__ for each in built) or 'nothing'}"
    return kind


def _config_of(module: nn.Module) -> dict[str, Any]:
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(module, attribute, None)
        if isinstance(config, dict) and config.get("input_size"):
            return config
    return {}
