"""Params and MACs of a factorised layer, by arithmetic alone, from the methods' descriptions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tdq_core.layers import methods
from tdq_core.layers.methods import METHODS, Chooser, Method, Ranks, method
from tdq_core.layers.table import Layer


@dataclass(frozen=True)
class Cost:
    params: int
    macs: int


def cost(layer: Layer, name: str, ranks: Ranks) -> Cost:
    """Params (bias included) and MACs of `layer` factorised by the method `name` at `ranks`."""
    return Cost(*amounts(layer, name, ranks))


def amounts(layer: Layer, name: str, ranks: Any) -> tuple[Any, Any]:
    """`cost` as a pair; `ranks` may be arrays that broadcast."""
    before, middle, after, between = method(name).all_weights(layer, ranks)
    params = before + middle + after + between + layer.c_out * layer.bias
    macs = before * layer.in_positions + between * layer.between + (middle + after) * layer.out_positions
    return params, macs


def dense_cost(layer: Layer) -> Cost:
    return Cost(layer.params, layer.macs)


def max_ranks(layer: Layer, name: str) -> Ranks:
    """The largest ranks that still mean something: above them nothing more can be represented. All ranks of a grouped
    convolution are those of each group."""
    return method(name).max_ranks(layer)


def method_for(layer: Layer, name: str) -> str:
    """The method that `layer` takes where a run asks for `name`."""
    return name if name not in METHODS else methods.method_for(layer, name).name


def among(layer: Layer, name: str) -> tuple[str, ...]:
    """The methods among which a plan chooses for `layer`, where a run asks for `name`."""
    asked = METHODS.get(name)
    choices = asked.among if isinstance(asked, Chooser) else ()
    return choices or (method_for(layer, name),)


def refusal(layer: Layer, name: str) -> str | None:
    """Why the method `name` cannot or should not be applied to `layer`, or None."""
    return method(name).refusal(layer)


def ladder(layer: Layer, name: str) -> Sequence[tuple[Ranks, Cost]]:
    """Every rank worth considering, smallest first, each dearer than the one before, all with fewer params than dense.

    Several ranks climb together, as tucker2's r_out / C_out = r_in / C_in up to rounding. It is found once for as long
    as the layer is held: a curve of plans and a moved slider ask for it again and again.
    """
    asked = method(name)
    if asked not in layer.worked_out:
        layer.worked_out[asked] = tuple(_rungs(layer, asked))
    found: Sequence[tuple[Ranks, Cost]] = layer.worked_out[asked]
    return found


def _rungs(layer: Layer, asked: Method) -> Iterator[tuple[Ranks, Cost]]:
    for ranks in asked.climb(layer):
        price = cost(layer, asked.name, ranks)
        if price.params >= layer.params:
            return
        yield ranks, price
