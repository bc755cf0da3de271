"""All tensors of a checkpoint by one dotted name each, however deep the dicts lie in which it keeps them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

EXTRA = "_extra_state"
"""What a module keeps beside tensors; state dicts name it so."""


class Contents(NamedTuple):
    """A checkpoint laid flat.

    Attributes:
        tensors: by dotted name: the keys on the way to it and its own; extra states of modules too.
        nodes: by that name, the dict in which it lies ('' is the outermost).
        versions: what state dicts tell of their modules (torch's `_metadata`), by dotted name of the module.
    """

    tensors: dict[str, Any]
    nodes: dict[str, str]
    versions: dict[str, Mapping[str, Any]]

    @classmethod
    def of(cls, held: Any) -> "Contents":
        """Those of dicts in dicts (or lists); what is no tensor is left out."""
        contents = cls({}, {}, {})
        contents._add(held, "", ())
        return contents

    def within(self, part: str) -> "Contents":
        """What lies below `part`, by the same names."""
        inside = {name: value for name, value in self.tensors.items() if is_below(name, part)}
        return Contents(inside, self.nodes, self.versions)

    def tops(self) -> list[str]:
        """The outermost keys."""
        return list(dict.fromkeys(name.partition(".")[0] for name in self.tensors))

    def _add(self, held: Any, node: str, around: tuple[int, ...]) -> None:
        if id(held) in around:  # it holds itself
            return
        self.versions.update((join(node, path), about) for path, about in _versions(held))
        for key, value in _items(held):
            name = join(node, key)
            if isinstance(value, Tensor) or key.endswith(EXTRA):
                self.tensors[name], self.nodes[name] = value, node
            else:
                self._add(value, name, (*around, id(held)))


def _items(held: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(held, Mapping):
        yield from ((str(key), value) for key, value in held.items())
    elif isinstance(held, list | tuple):
        yield from ((str(at), value) for at, value in enumerate(held))


def _versions(held: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    told = getattr(held, "_metadata", None)
    if isinstance(told, Mapping):
        yield from ((str(path), about) for path, about in told.items() if isinstance(about, Mapping))


def join(*parts: str) -> str:
    """A dotted name of those parts that are not empty."""
    return ".".join(part for part in parts if part)


def is_below(name: str, place: str) -> bool:
    """Whether `name` is the place or lies in it."""
    return not place or name == place or name.startswith(place + ".")


def below(name: str, place: str) -> str:
    """The rest of a `name` that lies in `place`."""
    return name.removeprefix(place).removeprefix(".") if place else name
