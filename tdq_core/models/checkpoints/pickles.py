"""Files of torch.save that hold more than tensors, read with something inert in the place of every other object."""

import pickle
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import torch

Strangers = dict[str, Literal["object", "dict", "list"]]
"""By the name of a class or function that a file asks for, what its stand-in must be to be filled as the file says."""
_MOST = 64
"""Training scripts keep a handful of kinds beside the tensors."""


class StandIn:
    """An object that takes whatever it is given and keeps nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class DictStandIn(StandIn):
    """Made as a plain dict, for the kinds of dicts that programs define: their items are kept."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class ListStandIn(StandIn):
    """The same for kinds of lists."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return []


_KINDS: dict[str, type[StandIn]] = {"object": StandIn, "dict": DictStandIn, "list": ListStandIn}


def load_inert(path: Path, strangers: Strangers) -> Any:
    """What `path` holds, by torch's unpickler that knows tensors and plain values only; nothing else is imported.

    Args:
        strangers: filled with the names that were asked for and replaced.

    Raises:
        pickle.UnpicklingError: it cannot be read so; and whatever torch raises for damaged files.
    """
    while True:
        try:
            return _load(path, strangers)
        except pickle.UnpicklingError as error:
            if len(strangers) > _MOST or not _learn(str(error), strangers):
                raise


def _learn(message: str, strangers: Strangers) -> bool:
    """Add to `strangers` what the unpickler complains of; False where that is nothing new."""
    asked = re.search(r"Unsupported global: GLOBAL ([\w.]+)", message)
    if asked and asked[1] not in strangers:
        strangers[asked[1]] = "object"
        return True
    filled = re.search(r"Can only (SETITEM|append|extend).*StandIn(\d+)", message, re.DOTALL)
    if not filled:
        return False
    name = list(strangers)[int(filled[2])]
    known = strangers[name]
    strangers[name] = "dict" if filled[1] == "SETITEM" else "list"
    return known == "object"


def _load(path: Path, strangers: Strangers) -> Any:
    kinds = [(type(f"StandIn{at}", (_KINDS[kind],), {}), name) for at, (name, kind) in enumerate(strangers.items())]
    kinds += [(kind, f"builtins.{name}") for kind, name in kinds if "." not in name]
    with warnings.catch_warnings(), torch.serialization.safe_globals(kinds):  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # an unusual protocol or an old storage is no news to whoever gave the file
        with path.open("rb") as file:  # by its name, torch would take it for safetensors
            return torch.load(file, map_location="cpu", weights_only=True)
