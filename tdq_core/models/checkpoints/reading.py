"""Weights files read without running code."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch

from tdq_core.errors import InputError
from tdq_core.models.checkpoints.formats import SAVE_SO, format_of
from tdq_core.models.checkpoints.pickles import Strangers, load_inert


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


def _read_pickle(path: Path) -> Content:
    strangers: Strangers = {}
    try:
        return Content(load_inert(path, strangers), {}, tuple(strangers))
    except pickle.UnpicklingError as error:
        raise _unreadable(path, error, strangers) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"The weights file '{path}' cannot be read: {_one_line(error)}.") from error


def _unreadable(path: Path, error: Exception, strangers: Strangers) -> InputError:
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted or strangers:
        return needs_code(path, wanted[1] if wanted else next(iter(strangers)))
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
