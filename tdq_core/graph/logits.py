"""Which part of what a network returns are its logits; and a network that returns these alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

Place = str | int
"""A key or a field of what is returned, or an index."""
NAMES = ("logits", "out")
"""What logits are called where a network returns several things."""


def find_logits(returned: Any, images: int) -> tuple[Place, ...]:
    """Where logits (images, classes) may lie in what a network returned; the surest place first, none where there are
    none. Where several are equally likely, all are given."""
    found = {place: value for place, value in _parts(returned) if _is_logits(value, images)}
    named = [name for name in NAMES if name in found]
    if named:
        return (named[0],)
    alike = len({value.shape for value in found.values()}) == 1  # a main head and auxiliary ones: the main one is first
    return tuple(found)[:1] if alike else tuple(found)


def is_logits(returned: Any, images: int) -> bool:
    """Whether it is a tensor (images, classes)."""
    return isinstance(returned, Tensor) and _is_logits(returned, images)


def giving(model: nn.Module, place: Place) -> nn.Module:
    """`model` so that it returns what lies at `place` of what it returned, in place; its parts keep their names."""
    kind: Any = type(model)

    class Giving(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            returned = super().forward(*args, **kwargs)
            return returned if isinstance(returned, Tensor) else _part(returned, place)

    Giving.__name__ = kind.__name__
    model.__class__ = Giving
    return model


def _is_logits(value: Tensor, images: int) -> bool:
    return value.ndim == 2 and value.shape[0] == images and value.shape[1] >= 2 and value.is_floating_point()


def _parts(returned: Any) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(returned, Mapping):
        parts: Any = returned.items()
    elif hasattr(returned, "_fields"):
        parts = zip(returned._fields, returned, strict=True)
    elif isinstance(returned, list | tuple):
        parts = enumerate(returned)
    else:
        parts = vars(returned).items() if hasattr(returned, "__dict__") else ()
    yield from ((place, value) for place, value in parts if isinstance(value, Tensor))


def _part(returned: Any, place: Place) -> Any:
    if isinstance(returned, Mapping | list) or isinstance(place, int):
        return returned[place]
    return getattr(returned, place)
