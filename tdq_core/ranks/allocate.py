"""Ranks of least predicted error under one budget for the whole model: a Lagrangian over the ranks of every layer.

The relative squared error of a layer is predicted by its spectra, each divided by its sum: for svd the tail of the
output mode's beyond the rank; for tucker2 that plus the tail of the input mode's, which bounds the error of the
truncated HOSVD (De Lathauwer, De Moor, Vandewalle: "A multilinear singular value decomposition", SIAM J. Matrix Anal.
Appl. 21, 2000). A dense layer has error 0 at its dense cost. No torch here.

Where the bits of its weights are chosen too, rounding adds to that, see `predicted_rounding`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tdq_core.layers import methods
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import BITS, Layer
from tdq_core.ranks.bits import END_BITS
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import amounts, max_ranks
from tdq_core.ranks.fronts import Front, Taken, front_of, undominated, united
from tdq_core.ranks.ratio import allowance, require_reach

ROUNDS = 20
"""Exchanges between two layers, at most."""


def solve_global(takers: Sequence[tuple[Layer, str]], budget: Budget) -> dict[str, Taken | str]:
    """By layer its form, or why it stays dense, such that the predicted errors add up to the least (to one step).

    Args:
        takers: layers with the methods that each may take, svd and tucker2.

    Raises:
        Refused: the smallest ranks everywhere are too dear.
    """
    layers, fronts = united(takers, lambda la, method: front(la, method, budget), ("predicted error", budget))
    require_reach(layers, budget, sum(int(f.prices[0]) for f in fronts))
    chosen = least_error(fronts, allowance(layers, budget))
    reason = f"at this ratio other layers give up {budget.unit} at a smaller predicted error"
    return {la.name: f.form(i) or reason for la, f, i in zip(layers, fronts, chosen, strict=True)}


def front(layer: Layer, method: str | None, budget: Budget, bits_of: Sequence[int] = ()) -> Front:
    """The front of all ranks that the rule allows, and of the dense layer.

    Args:
        method: None: the dense layer alone.
        bits_of: those that its weights may have; none given: all that the budget knows.
    """
    allowed = bits_of or budget.bits_for(layer)
    as_it_is = (END_BITS,) if layer.end and budget.chooses_bits else allowed
    found = [_dense(layer, bits, budget) for bits in as_it_is]
    found += [_at_ranks(layer, method, bits, budget) for bits in allowed] if method else []
    return front_of(found)


def _dense(layer: Layer, bits: int, budget: Budget) -> Front:
    lost = float(predicted_rounding(layer, bits, stages=1, lost=np.zeros(1), budget=budget)[0])
    return Front(np.array([budget.dense(layer, bits)]), np.array([lost]), [()], [bits], ["none"])


def _at_ranks(layer: Layer, method: str, bits: int, budget: Budget) -> Front:
    """Every combination of ranks that saves something, in any order."""
    described, multiple = methods.method(method), budget.rule.multiple
    tops = max_ranks(layer, method)
    axes = [np.arange(multiple, top + 1, multiple) for top in tops]
    params, _ = amounts(layer, method, np.ix_(*axes))
    spectra = [(layer.spectrum_out, layer.spectrum_in)[mode] for mode in described.predicts]
    lost = np.ix_(*(tails(s, top)[axis] for s, top, axis in zip(spectra, tops, axes, strict=True)))
    errors = sum(lost[1:], start=lost[0]).ravel()
    prices = np.broadcast_to(budget.price(layer, method, np.ix_(*axes), bits), params.shape).ravel()
    saving = params.ravel() < layer.params
    if budget.counts != "params":
        saving &= prices < budget.dense(layer, bits)
    at = np.flatnonzero(saving)
    errors = errors + predicted_rounding(layer, bits, stages=len(described.stages(layer.one_group, tops)),
                                         lost=errors, budget=budget)  # fmt: skip
    at = at[undominated(prices[at], errors[at])]  # most are not: ranks are named for those that are left
    ranks = zip(*(axis[i].tolist() for axis, i in zip(axes, np.unravel_index(at, params.shape), strict=True)),
                strict=True)  # fmt: skip
    return Front(prices[at], errors[at], list(ranks), [bits] * len(at), [method] * len(at))


def solve_with_bits(takers: Mapping[str, str], budget: Budget) -> dict[str, tuple[Ranks, int]]:
    """By layer its ranks, () where it stays dense, and the bits of its weights, of least predicted error in all.

    Args:
        takers: by layer the method that it takes, svd or tucker2; every other layer stays dense, at some bits.

    Raises:
        Refused: the smallest ranks everywhere at the fewest bits are too dear.
    """
    layers = [layer for layer in budget.table.layers if layer.name in budget.packed.files.packed]
    allowed, found = allowance(layers, budget), []
    for bits in (budget.bits, *((each,) for each in budget.bits)):  # no worse than any single one
        fronts = [front(layer, takers.get(layer.name), budget, bits) for layer in layers]
        cheapest = sum(int(f.prices[0]) for f in fronts)
        if bits == budget.bits:
            least = f"the smallest ranks at {bits[-1]} bits everywhere give"
            require_reach(layers, budget, cheapest, least)
        if cheapest <= allowed:
            chosen = list(zip(fronts, exchanged(fronts, least_error(fronts, allowed), allowed), strict=True))
            found.append((sum(float(f.errors[i]) for f, i in chosen), chosen))
    _, best = min(found, key=lambda each: each[0])
    return {la.name: (f.ranks[i], f.bits[i]) for la, (f, i) in zip(layers, best, strict=True)}


def predicted_rounding(layer: Layer, bits: int, *, stages: int, lost: np.ndarray, budget: Budget) -> np.ndarray:
    """The relative squared error that rounding to so many bits adds, where bits are chosen by layer; else 0.

    Of the dense layer it was measured (`Layer.rounding`). Every factor of a decomposed one adds about as much, of what
    the ranks leave: docs/low-bits.md says how nearly. Error feedback saves less on factors than on a dense weight,
    for their inputs are less alike: by about the geometric mean of both ways.

    Args:
        lost: (n,), the share that the ranks lose.
    """
    if not budget.chooses_bits:
        return np.zeros_like(lost)
    nearest = layer.rounding[BITS.index(bits)]
    fed = layer.rounding_fed[BITS.index(bits)] if layer.rounding_fed else nearest
    one = fed if stages == 1 else math.sqrt(nearest * fed)
    return stages * one * (1 - lost).clip(0, 1)


def tails(spectrum: Sequence[float], top: int) -> np.ndarray:
    """Share of the sum of `spectrum` that lies beyond the first r values, for r = 0 ... top; shape (top + 1,)."""
    if not len(spectrum):
        raise ValueError("There is no spectrum to predict an error by.")
    squares = np.zeros(top + 1)
    squares[: len(spectrum)] = spectrum
    beyond = np.cumsum(squares[::-1])[::-1]
    return beyond / beyond[0] if beyond[0] > 0 else beyond


def least_error(fronts: Sequence[Front], budget: int) -> list[int]:
    """The choice on each front. From the cheapest ones on, the price of error falls: steps along the lower convex
    hulls are bought, best error per cost first, until one does not fit. What is left buys the best single changes."""
    chosen = [0] * len(fronts)
    left = budget - sum(int(f.prices[0]) for f in fronts)
    for which, to in _steps(fronts):
        step = int(fronts[which].prices[to] - fronts[which].prices[chosen[which]])
        if step > left:
            break
        chosen[which], left = to, left - step
    _spend_the_rest(fronts, chosen, left)
    return chosen


def least_cost(fronts: Sequence[Front], most: float) -> list[int]:
    """The choice on each front by the same steps, until the errors add up to at most `most`; the cheapest such ones
    along the hulls. Where even the dearest add up to more, those."""
    chosen, error = [0] * len(fronts), sum(float(f.errors[0]) for f in fronts)
    for which, to in _steps(fronts):
        if error <= most:
            break
        error -= float(fronts[which].errors[chosen[which]] - fronts[which].errors[to])
        chosen[which] = to
    return chosen


def _steps(fronts: Sequence[Front]) -> list[tuple[int, int]]:
    """(front, choice) along all lower hulls, from the cheapest choices on, best error per cost first."""
    steps = [
        (-(f.errors[a] - f.errors[b]) / (f.prices[b] - f.prices[a]), which, b)
        for which, f in enumerate(fronts)
        for a, b in itertools.pairwise(f.hull)
    ]
    return [(which, to) for _, which, to in sorted(steps)]


def exchanged(fronts: Sequence[Front], chosen: Sequence[int], budget: int) -> list[int]:
    """Better choices, as long as there are any: one layer goes down to a choice on its hull, another one goes up by as
    much as that and what is left over can buy."""
    chosen = list(chosen)
    for _ in range(ROUNDS):
        left = budget - sum(int(f.prices[i]) for f, i in zip(fronts, chosen, strict=True))
        best, moves = 0.0, ((0, 0), (0, 0))
        for one, (down, at) in enumerate(zip(fronts, chosen, strict=True)):
            lower = np.array([i for i in down.hull if i < at], dtype=int)
            freed, lost = down.prices[at] - down.prices[lower], down.errors[lower] - down.errors[at]
            for other, (up, now) in enumerate(zip(fronts, chosen, strict=True)):
                if other == one or not len(lower):
                    continue
                to = np.searchsorted(up.prices, up.prices[now] + left + freed, "right") - 1
                gains = up.errors[now] - up.errors[to] - lost
                if gains.max() > best:
                    k = int(gains.argmax())
                    best, moves = float(gains[k]), ((one, int(lower[k])), (other, int(to[k])))
        if best <= 0:
            break
        for which, choice in moves:
            chosen[which] = choice
        _spend_the_rest(fronts, chosen, budget - sum(int(f.prices[i]) for f, i in zip(fronts, chosen, strict=True)))
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
