"""Weights files read without running code."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch

from tdq_core.errors import InputError
from tdq_core.models.checkpoints.formats import SAVE_SO, format_of

_STAND_INS = 64
"""Kinds of objects beside the tensors of a file: training scripts keep a handful."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        held: tensors in dicts in dicts, with whatever else lies there.
        about: metadata of safetensors.
        objects: names of classes and functions that the file asks for and that were not run.
    """

    held: Any
    about: Mapping[str, str]
    objects: tuple[str, ...] = ()


def read_file(path: Path) -> Content:
    """The content of a weights file, on the CPU; its name plays no part.

    Objects in it that are neither tensors nor plain values (a script's arguments, say) are not made: something inert
    stands in their places.

    Raises:
        InputError: no such file, an unknown format, damaged, or only readable by running code.
    """
    if format_of(path) == "pickle":
        return _read_pickle(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
        return Content(safetensors.torch.load_file(path), about)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"The weights file '{path}' is not readable as safetensors: {_one_line(error)}.") from error


class StandIn:
    """In the place of an object that would have needed code to be made."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _read_pickle(path: Path) -> Content:
    strangers: list[str] = []
    while True:
        try:
            return Content(_load(path, strangers), {}, tuple(strangers))
        except pickle.UnpicklingError as error:
            wanted = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
            if not wanted or wanted[1] in strangers or len(strangers) == _STAND_INS:
                raise _unreadable(path, error) from error
            strangers.append(wanted[1])
        except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise InputError(f"The weights file '{path}' cannot be read: {_one_line(error)}.") from error


def _load(path: Path, strangers: list[str]) -> Any:
    """By torch's unpickler that knows tensors and plain values only; `strangers` are replaced by something inert."""
    kinds = [(type("StandIn", (StandIn,), {}), name) for name in strangers]
    kinds += [(kind, f"builtins.{name}") for kind, name in kinds if "." not in name]
    with warnings.catch_warnings(), torch.serialization.safe_globals(kinds):  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # an unusual protocol or an old storage is no news to whoever gave the file
        with path.open("rb") as file:  # by its name, torch would take it for safetensors
            return torch.load(file, map_location="cpu", weights_only=True)


def _unreadable(path: Path, error: Exception) -> InputError:
    if wanted := re.search(r"GLOBAL ([\w.]+)|class '?([\w.]+)", str(error)):
        return needs_code(path, wanted[1] or wanted[2])
    return InputError(
        f"The weights file '{path}' is not a state dict that torch can read without running code, or it is damaged: "
        f"{SAVE_SO}."
    )


def needs_code(path: Path, name: str) -> InputError:
    """The sentence for a file whose weights lie in an object."""
    return InputError(
        f"The weights file '{path}' needs '{name}' to be run when it is read, and TDQ runs no code from weights "
        f"files: {SAVE_SO}."
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).removesuffix(".")[:200] or type(error).__name__
