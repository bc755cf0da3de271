"""Ranks of least predicted error under one budget for the whole model: a Lagrangian over the ranks of every layer.

The relative squared error of a layer is predicted by its spectra, each divided by its sum: for svd the tail of the
output mode's beyond the rank; for tucker2 that plus the tail of the input mode's, which bounds the error of the
truncated HOSVD (De Lathauwer, De Moor, Vandewalle: "A multilinear singular value decomposition", SIAM J. Matrix Anal.
Appl. 21, 2000). A dense layer has error 0 at its dense cost. No torch here.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tdq_core.layers import methods
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.costs import cost_grid, max_ranks
from tdq_core.ranks.ratio import allowance, require_reach
from tdq_core.specs.rank_rule import RankRule


@dataclass(frozen=True)
class Front:
    """What one layer can be had for: no other ranks are both cheaper and better than one of these.

    Attributes:
        prices: costs, ascending, shape (choices,).
        errors: predicted relative squared errors, strictly descending, shape (choices,).
        ranks: of each choice; () is the dense layer.
    """

    prices: np.ndarray
    errors: np.ndarray
    ranks: Sequence[Ranks]


def solve_global(table: LayerTable, takers: Sequence[tuple[Layer, str]], rule: RankRule) -> dict[str, Ranks | str]:
    """By layer its ranks, or why it stays dense, such that the predicted errors add up to the least (to one step).

    Args:
        takers: layers with the method that each takes, svd or tucker2.

    Raises:
        Refused: the smallest ranks everywhere are too dear.
    """
    layers = [la for la, _ in takers]
    fronts = [front(la, method, rule) for la, method in takers]
    require_reach(table, layers, rule, sum(int(f.prices[0]) for f in fronts))
    chosen = _least_error(fronts, allowance(table, layers, rule))
    unit = "params" if rule.budget == "params" else "MACs"
    reason = f"at this ratio other layers give up {unit} at a smaller predicted error"
    return {la.name: f.ranks[i] or reason for la, f, i in zip(layers, fronts, chosen, strict=True)}


def front(layer: Layer, method: str, rule: RankRule) -> Front:
    """The front of all ranks that the rule allows, and of the dense layer."""
    tops = max_ranks(layer, method)
    axes = [np.arange(rule.multiple, top + 1, rule.multiple) for top in tops]
    params, macs = cost_grid(layer, method, axes)
    spectra = [(layer.spectrum_out, layer.spectrum_in)[mode] for mode in methods.method(method).predicts]
    lost = np.ix_(*(tails(s, top)[axis] for s, top, axis in zip(spectra, tops, axes, strict=True)))
    errors = sum(lost[1:], start=lost[0]).ravel()
    prices = (params if rule.budget == "params" else macs).ravel()
    saving = params.ravel() < layer.params
    if rule.budget == "macs":
        saving &= prices < layer.macs
    at = np.flatnonzero(saving)
    at = at[np.lexsort((errors[at], prices[at]))]
    best_before = np.minimum.accumulate(np.concatenate(([np.inf], errors[at])))[:-1]
    at = at[errors[at] < best_before]
    ranks = list(
        zip(*(axis[i].tolist() for axis, i in zip(axes, np.unravel_index(at, params.shape), strict=True)), strict=True)
    )
    if errors[at[-1]] <= 0:  # as good as dense, and cheaper
        return Front(prices[at], errors[at], ranks)
    return Front(np.append(prices[at], getattr(layer, rule.budget)), np.append(errors[at], 0.0), [*ranks, ()])


def tails(spectrum: Sequence[float], top: int) -> np.ndarray:
    """Share of the sum of `spectrum` that lies beyond the first r values, for r = 0 ... top; shape (top + 1,)."""
    if not len(spectrum):
        raise ValueError("There is no spectrum to predict an error by.")
    squares = np.zeros(top + 1)
    squares[: len(spectrum)] = spectrum
    beyond = np.cumsum(squares[::-1])[::-1]
    return beyond / beyond[0] if beyond[0] > 0 else beyond


def _least_error(fronts: Sequence[Front], budget: int) -> list[int]:
    """The choice on each front. From the cheapest ones on, the price of error falls: steps along the lower convex
    hulls are bought, best error per cost first, until one does not fit. What is left buys the best single changes."""
    hulls = [_lower_hull(f) for f in fronts]
    steps = [
        (-(f.errors[a] - f.errors[b]) / (f.prices[b] - f.prices[a]), which, b)
        for which, (f, hull) in enumerate(zip(fronts, hulls, strict=True))
        for a, b in itertools.pairwise(hull)
    ]
    chosen = [0] * len(fronts)
    left = budget - sum(int(f.prices[0]) for f in fronts)
    for _, which, to in sorted(steps):
        step = int(fronts[which].prices[to] - fronts[which].prices[chosen[which]])
        if step > left:
            break
        chosen[which], left = to, left - step
    _spend_the_rest(fronts, chosen, left)
    return chosen


def _spend_the_rest(fronts: Sequence[Front], chosen: list[int], left: int) -> None:
    """Change the one layer that gains the most, again and again."""
    while True:
        to = [
            int(np.searchsorted(f.prices, f.prices[i] + left, "right")) - 1 for f, i in zip(fronts, chosen, strict=True)
        ]
        gains = [f.errors[i] - f.errors[j] for f, i, j in zip(fronts, chosen, to, strict=True)]
        which = int(np.argmax(gains))
        if gains[which] <= 0:
            return
        left -= int(fronts[which].prices[to[which]] - fronts[which].prices[chosen[which]])
        chosen[which] = to[which]


def _lower_hull(front: Front) -> list[int]:
    """The choices that some price of error makes best, by a monotone chain."""
    hull: list[int] = []
    points = list(zip(front.prices.tolist(), front.errors.tolist(), strict=True))
    for i, (x, y) in enumerate(points):
        while len(hull) > 1:
            (ax, ay), (bx, by) = points[hull[-2]], points[hull[-1]]
            if (by - ay) * (x - ax) < (y - ay) * (bx - ax):
                break
            hull.pop()
        hull.append(i)
    return hull
