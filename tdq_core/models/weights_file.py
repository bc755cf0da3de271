"""State dicts: read from files without running code, checked key by key, and named by their content."""

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tdq_core.errors import InputError

PICKLE_SUFFIXES = (".pt", ".pth", ".th")
_COUNTER = "num_batches_tracked"
_SHOWN = 3


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a weights file, on the CPU.

    Args:
        path: `.safetensors`, or `.pt/.pth/.th` with a dict of tensors, plain or under 'state_dict' or 'model';
            a prefix 'module.' on all keys is dropped.

    Raises:
        InputError: no such file, unknown suffix, unreadable, needs code to be run, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The weights file '{path}' does not exist.")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in PICKLE_SUFFIXES:
        return _plain_state(_read_pickle(path), path)
    raise InputError(f"A weights file ends in .safetensors, {', '.join(PICKLE_SUFFIXES)}. Got '{path}'.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InputError(f"The weights file '{path}' is not readable as safetensors: {_one_line(error)}.") from error


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # an unusual pickle protocol is no news to whoever gave the file
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", str(error)):
            raise InputError(
                f"The weights file '{path}' needs '{wanted[1] or wanted[2]}' to be run when it is read, and TDQ runs "
                "no code from weights files: save the state dict alone, with torch.save(model.state_dict(), FILE)."
            ) from error
        raise InputError(
            f"The weights file '{path}' is not a state dict that torch can read without running code, or it is "
            "damaged: save the state dict alone, with torch.save(model.state_dict(), FILE)."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"The weights file '{path}' cannot be read: {_one_line(error)}.") from error


def _plain_state(content: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = isinstance(content, Mapping) and content and all(isinstance(v, Tensor) for v in content.values())
    if not tensors:
        raise InputError(
            f"The weights file '{path}' holds no state dict (names with tensors), plain or under 'state_dict' "
            "or 'model'."
        )
    prefixed = all(str(name).startswith("module.") for name in content)
    return {str(name).removeprefix("module.") if prefixed else str(name): value for name, value in content.items()}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).removesuffix(".")[:200] or type(error).__name__


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `module`, in place; `source` names the state in errors.

    Raises:
        InputError: names the first few keys that are missing, unexpected or of another shape. Batch norm's counters
            (`num_batches_tracked`) may be absent: they take no part at inference.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in own]
    reshaped = [
        f"{name} {list(state[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    named = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    if faults := [_count(label, names) for label, names in named if names]:
        raise InputError(f"The weights '{source}' do not fit the model: {'; '.join(faults)}.")
    module.load_state_dict(dict(state), strict=False)


def _count(label: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{label} {', '.join(names[:_SHOWN])}{more}"


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the sorted (name, dtype, shape, bytes) of the state dict, batch norm's counters left out."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not name.endswith(_COUNTER):
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
