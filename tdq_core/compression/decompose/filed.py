"""Factors as bytes: their tensors as safetensors, everything else of them as JSON in the header."""

import dataclasses
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.factors import Factors
from tdq_core.compression.decompose.groups import grouped, parts_of
from tdq_core.compression.decompose.spatial import Spatial
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2

KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Cp, Spatial, Tucker2, Svd)}
_HEADER = 8
"""Bytes that tell how long the JSON in front of the tensors is."""


def to_bytes(factors: Factors) -> bytes | None:
    """Bytes that `from_bytes` reads; None where the factors are of a kind that is not kept."""
    parts, tensors = parts_of(factors), dict[str, Tensor]()
    plain: list[dict[str, Any]] = []
    if any(type(part).__name__ not in KINDS for part in parts):
        return None
    for n, part in enumerate(parts):
        assert dataclasses.is_dataclass(part)
        values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        tensors |= {f"{n}.{name}": value.contiguous() for name, value in values.items() if isinstance(value, Tensor)}
        rest = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
        plain.append({"kind": type(part).__name__, **rest})
    header = msgspec.json.encode(plain)
    return len(header).to_bytes(_HEADER, "little") + header + save(tensors)


def from_bytes(content: bytes) -> Factors | None:
    """The factors; None where the bytes are no factors, or not all of them."""
    try:
        length = int.from_bytes(content[:_HEADER], "little")
        plain = msgspec.json.decode(content[_HEADER : _HEADER + length], type=list[dict[str, Any]])
        tensors = load(content[_HEADER + length :])
        return grouped([_part(n, dict(values), tensors) for n, values in enumerate(plain)])
    except (msgspec.MsgspecError, SafetensorError, KeyError, TypeError, IndexError, ValueError):
        return None


def _part(n: int, plain: dict[str, Any], tensors: dict[str, Tensor]) -> Factors:
    kind = KINDS[plain.pop("kind")]
    annotations = {field.name: field.type for field in dataclasses.fields(kind)}
    values = {name: msgspec.convert(value, annotations[name]) for name, value in plain.items()}
    mine = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{n}.")}
    made: Factors = kind(**values, **mine)
    return made
