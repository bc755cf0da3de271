"""What one layer can be had for: choices of which none is both cheaper and better than another. No torch here."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.ranks.budget import Budget


class Taken(NamedTuple):
    """What a layer becomes."""

    method: str
    ranks: Ranks


@dataclass(frozen=True)
class Front:
    """What one layer can be had for: no other choice is both cheaper and better than one of these.

    Attributes:
        prices: costs, ascending, shape (choices,).
        errors: predicted relative squared errors, strictly descending, shape (choices,).
        ranks: of each choice; () is the dense layer.
        bits: of each choice's weights.
        methods: by which it is decomposed; 'none' of the dense layer.
    """

    prices: np.ndarray
    errors: np.ndarray
    ranks: Sequence[Ranks]
    bits: Sequence[int]
    methods: Sequence[str]

    @cached_property
    def hull(self) -> list[int]:
        """The choices that some price of error makes best."""
        return _lower_hull(self.prices.tolist(), self.errors.tolist())

    def form(self, choice: int) -> Taken | None:
        """What the layer becomes; None where it stays dense."""
        return Taken(self.methods[choice], self.ranks[choice]) if self.ranks[choice] else None


def united(
    takers: Sequence[tuple[Layer, str]], of: Callable[[Layer, str], Front], by: tuple[str, Budget]
) -> tuple[list[Layer], list[Front]]:
    """The layers, each once, and the fronts of all methods that each may take.

    A front does not hang on the ratio, and is found once for as long as the layer is held: a drop is answered with
    several ratios, and a curve with many.

    Args:
        of: the front of a layer by a method; by: what its errors are, and what its prices.
    """
    methods_of: dict[str, list[str]] = {}
    for layer, method in takers:
        methods_of.setdefault(layer.name, []).append(method)
    layers = {layer.name: layer for layer, _ in takers}
    error, budget = by
    fronts = []
    for layer in layers.values():
        own = methods_of[layer.name]
        key: Hashable = (error, budget.counts, budget.rule.multiple, budget.bits, *own)
        known = layer.worked_out.get(key)
        if known is None:
            known = front_of([of(layer, method) for method in own])
            if budget.of_layers_alone:
                layer.worked_out[key] = known
        fronts.append(known)
    return list(layers.values()), fronts


def front_of(found: Sequence[Front]) -> Front:
    """The front of all these choices, which may lie in any order."""
    prices, errors = (np.concatenate([getattr(f, name) for f in found]) for name in ("prices", "errors"))
    ranks, bits, methods = ([v for f in found for v in getattr(f, name)] for name in ("ranks", "bits", "methods"))
    at = undominated(prices, errors)
    kept = ([values[i] for i in at] for values in (ranks, bits, methods))
    return Front(prices[at], errors[at], *kept)


def undominated(prices: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Indices of the choices that no cheaper or equally dear one equals in error, cheapest first."""
    at = np.lexsort((errors, prices))
    best_before = np.minimum.accumulate(np.concatenate(([np.inf], errors[at])))[:-1]
    return at[errors[at] < best_before]


def _lower_hull(prices: Sequence[int], errors: Sequence[float]) -> list[int]:
    """By a monotone chain."""
    hull: list[int] = []
    points = list(zip(prices, errors, strict=True))
    for i, (x, y) in enumerate(points):
        while len(hull) > 1:
            (ax, ay), (bx, by) = points[hull[-2]], points[hull[-1]]
            if (by - ay) * (x - ax) < (y - ay) * (bx - ax):
                break
            hull.pop()
        hull.append(i)
    return hull
