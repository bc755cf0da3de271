"""The layers of a deep network in groups that one may want to look at together: by stage, and by kernel size."""

from collections.abc import Iterable, Sequence
from math import isqrt

from tdq_core.layers.table import Layer

ALL = "all"
MOST_STAGES = 16
LARGEST = 0.75
"""A stage of more than this share of the layers tells nothing apart."""
Groups = dict[str, tuple[str, ...]]
"""Names of layers, by the group's name, in the order of the model."""


def stages(layers: Sequence[Layer]) -> Groups:
    """By the first part of the names ('layer3'), where that tells a few groups apart; else by the places of the output
    (14 x 14), which networks halve from stage to stage."""
    by_name = _grouped((layer.name.partition(".")[0], layer) for layer in layers)
    most = max((len(names) for names in by_name.values()), default=0)
    if 2 <= len(by_name) <= MOST_STAGES and most <= LARGEST * len(layers):
        return by_name
    return _grouped((_places(layer), layer) for layer in layers)


def kernels(layers: Sequence[Layer]) -> Groups:
    """By kernel size, linear layers apart."""
    return _grouped(("linear" if la.kind == "linear" else f"{la.kernel[0]}x{la.kernel[1]}", la) for la in layers)


def among(groups: Groups, chosen: str) -> set[str] | None:
    """The names in the chosen group; None: all there are."""
    return None if chosen == ALL else set(groups.get(chosen, ()))


def _grouped(pairs: Iterable[tuple[str, Layer]]) -> Groups:
    found: Groups = {}
    for group, layer in pairs:
        found[group] = (*found.get(group, ()), layer.name)
    return found


def _places(layer: Layer) -> str:
    each = layer.out_positions // max(1, layer.calls)
    side = isqrt(each)
    return f"{side} x {side}" if side * side == each else f"{each} places"
