"""Parts of a value that few readers ask for, as bytes until somebody does: thousands fit in memory. No torch here.

They are frozen and equal what they hold.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Deferred(Generic[T]):
    """A value of `kind`, packed; it is unpacked whenever it is asked for, and not held."""

    __slots__ = ("_kind", "_packed")

    def __init__(self, packed: bytes, kind: Any) -> None:
        self._packed, self._kind = packed, kind

    @property
    def value(self) -> T:
        found: T = msgspec.msgpack.decode(zlib.decompress(self._packed), type=self._kind)
        return found

    def __len__(self) -> int:
        return len(self.value)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, Deferred) else other))

    def __hash__(self) -> int:
        return hash(self._packed)

    def __repr__(self) -> str:
        return repr(self.value)


class DeferredTuple(Deferred[tuple[Any, ...]], Sequence[Any]):
    """A tuple."""

    def __getitem__(self, at: Any) -> Any:
        return self.value[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)


class DeferredMapping(Deferred[dict[str, Any]], Mapping[str, Any]):
    """A mapping from names."""

    def __getitem__(self, name: str) -> Any:
        return self.value[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)


def packed(value: Any) -> bytes:
    """What `Deferred` unpacks."""
    return zlib.compress(msgspec.msgpack.encode(value), 1)
