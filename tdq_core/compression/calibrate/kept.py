"""Tensors of a cache in a safetensors file that knows its own SHA-256: what is not as it was written is made again."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tdq_core.errors import NotNow
from tdq_core.system.files import write_atomically
from tdq_core.system.reading import Damaged, plain_json, read_bytes

_DIGEST = "sha256"
_LENGTH = 8
"""Bytes that say how long the header is."""


def keep_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write them, whole or not at all; where that cannot be, they are not kept, and made again another time."""
    named = dict(tensors)
    _, body = _parts(safetensors.torch.save(named))
    with contextlib.suppress(NotNow):
        write_atomically(path, safetensors.torch.save(named, metadata={_DIGEST: hashlib.sha256(body).hexdigest()}))


def kept_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor] | None:
    """What was kept; None where there is nothing, or something else than finite tensors of these names and shapes."""
    try:
        data = read_bytes(path, most=None)
        header, body = _parts(data)
        if header["__metadata__"][_DIGEST] != hashlib.sha256(body).hexdigest():
            return None
        found = safetensors.torch.load(data)
    except (OSError, Damaged, LookupError, TypeError, safetensors.SafetensorError):
        return None
    fits = {name: tuple(tensor.shape) for name, tensor in found.items()} == dict(shapes)
    return found if fits and all(bool(torch.isfinite(tensor).all()) for tensor in found.values()) else None


def _parts(data: bytes) -> tuple[dict[str, dict[str, str]], bytes]:
    """The header of a safetensors file, and what follows it."""
    begin = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    header: dict[str, dict[str, str]] = plain_json(data[_LENGTH:begin])
    return header, data[begin:]
