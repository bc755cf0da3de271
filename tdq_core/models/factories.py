"""Models of your own: a factory in a file or a package, or a name of timm's."""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from tdq_core.errors import InputError
from tdq_core.graph.modules import of_kind
from tdq_core.models.opening import uncompiled
from tdq_core.models.registry import BRING_YOUR_OWN
from tdq_core.system.files import file_sha256

TIMM = "timm:"
_COMPAT = "tdq_core.system.torchvision_compat"  # before anybody else's code imports torchvision


@dataclass(frozen=True)
class Built:
    """A model fresh from its factory.

    Attributes:
        code: what stands for its code in digests: a registered name, or the SHA-256 of the factory's file.
        config: what the model itself says of its inputs (timm's `pretrained_cfg` or a `default_cfg`); may be empty.
        weights_source: a sentence, where the factory brought weights along.
    """

    module: nn.Module
    code: str
    config: dict[str, Any]
    weights_source: str


def build_registered(name: str, factory: str) -> Built:
    module_name, function = factory.split(":")
    module = getattr(importlib.import_module(module_name), function)()
    return Built(module, name, {}, "")


def build_your_own(name: str, *, seed: int) -> Built:
    """Import 'file.py:factory' or 'package.module:factory' and call it without arguments.

    Only the factory's own file enters the digest, not what it imports.
    """
    where, _, function = name.rpartition(":")
    if not where or not function.isidentifier():
        raise InputError(f"'{name}' names no factory: {BRING_YOUR_OWN}.")
    path = Path(where)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise InputError(f"The model file '{where}' does not exist.")
    importlib.import_module(_COMPAT)
    with _importable(path.resolve().parent if is_file else Path.cwd()):
        module = _guarded(name, lambda: _import_file(path) if is_file else importlib.import_module(where))
        if not callable(factory := getattr(module, function, None)):
            raise InputError(f"'{where}' has no function '{function}'.")
        built = _guarded(name, factory)
    if not isinstance(built, nn.Module):
        raise InputError(f"The factory '{name}' must return a torch.nn.Module. Got {type(built).__name__}.")
    code = file_sha256(Path(module.__file__)) + f":{function}" if module.__file__ else name
    return Built(built, code, _config_of(built), f"as the factory made them, seed {seed}")


def build_timm(name: str, *, pretrained: bool, seed: int) -> Built:
    """A model of timm's; with `pretrained`, its weights come through timm, from its cache or the network."""
    importlib.import_module(_COMPAT)
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise InputError(f"'{name}' needs the package timm: pip install timm.") from error
    model = _guarded(name, lambda: timm.create_model(name.removeprefix(TIMM), pretrained=pretrained))
    source = f"timm {timm.__version__}, {name.removeprefix(TIMM)}" if pretrained else f"random, seed {seed}"
    return Built(model, f"{name}@{timm.__version__}", _config_of(model), source)


def _guarded(name: str, call: Any) -> Any:
    """Run other people's code: whatever it raises becomes one sentence."""
    try:
        return call()
    except InputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300].rstrip(".") or "no further text"
        raise InputError(f"The model '{name}' could not be built: {type(error).__name__}: {text}.") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a model's file import its neighbours, and only while it is being built."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def _import_file(path: Path) -> ModuleType:
    name = f"tdq_model_{path.stem}_{file_sha256(path)[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    spec.loader.exec_module(module)
    return module


def _config_of(module: nn.Module) -> dict[str, Any]:
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(module, attribute, None)
        if isinstance(config, dict) and config.get("input_size"):
            return config
    return {}


def first_conv_channels(module: nn.Module) -> int:
    """Input channels of the first convolution; 3 where there is none."""
    return next((layer.in_channels for layer in of_kind(module, nn.Conv2d).values()), 3)


def probe_classes(module: nn.Module, input_shape: tuple[int, int, int], name: str) -> int:
    """Number of logits for one image of zeros; anything but (1, classes) is an error."""
    with torch.inference_mode(), uncompiled():
        logits = _guarded(name, lambda: module(torch.zeros(1, *input_shape)))
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[0] != 1 or logits.shape[1] < 2:
        raise InputError(f"The model '{name}' must turn images {input_shape} into logits (1, classes). Got {shape}.")
    return logits.shape[1]
