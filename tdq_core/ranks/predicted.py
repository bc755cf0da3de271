"""Ranks by which the answers move least under one budget: the measured changes of the layers, added up. No torch here.

What a layer does at ranks between those that were measured is read off as in `expected`; rounding to the planned
precision counts in each form, so that a form that rounds badly is avoided.
"""

from collections.abc import Sequence

import numpy as np

from tdq_core.errors import Refused
from tdq_core.layers.table import Change, Layer
from tdq_core.ranks.allocate import exchanged, least_cost, least_error
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import amounts, max_ranks
from tdq_core.ranks.expected import changes_at, expected_error
from tdq_core.ranks.fronts import Front, Taken, front_of, undominated, united
from tdq_core.ranks.ratio import allowance, require_reach

NOT_MEASURED = "its sensitivity was not measured"
REACH = "the smallest ranks that were measured give"


def solve_predicted(takers: Sequence[tuple[Layer, str]], budget: Budget) -> dict[str, Taken | str]:
    """By layer its form, or why it stays dense, such that the changes add up to the least (to one exchange).

    Raises:
        Refused: the smallest measured ranks everywhere are too dear; no layer was measured by its method.
    """
    layers, fronts = _fronts(takers, budget)
    require_reach(layers, budget, sum(int(f.prices[0]) for f in fronts), REACH)
    allowed = allowance(layers, budget)
    chosen = exchanged(fronts, least_error(fronts, allowed), allowed)
    reason = f"at this ratio other layers give up {budget.unit} at a smaller predicted change"
    found: dict[str, Taken | str] = {la.name: NOT_MEASURED for la, _ in takers}
    return found | {la.name: f.form(i) or reason for la, f, i in zip(layers, fronts, chosen, strict=True)}


def ratio_within(takers: Sequence[tuple[Layer, str]], budget: Budget, most: float) -> float:
    """The largest ratio, along the hulls of the layers' fronts, at which the changes add up to at most `most`; 1 where
    not even the dense network's do.

    Raises:
        Refused: no layer was measured by its method.
    """
    layers, fronts = _fronts(takers, budget)
    others = [la for la in budget.table.layers if la not in layers]
    most -= sum(form.rounding for la in others if (form := _form(la, "none")))
    chosen = least_cost(fronts, most)
    if sum(float(f.errors[i]) for f, i in zip(fronts, chosen, strict=True)) > most:
        return 1.0
    spent = sum(int(f.prices[i]) for f, i in zip(fronts, chosen, strict=True))
    return budget.original / (budget.whole - sum(budget.dense(la) for la in layers) + spent)


def _fronts(takers: Sequence[tuple[Layer, str]], budget: Budget) -> tuple[list[Layer], list[Front]]:
    """Of the layers that were measured by their method."""
    known = [(la, method) for la, method in takers if _form(la, method) and _form(la, "none")]
    if not known:
        raise Refused(f"No layer of '{budget.table.model}' was measured by this method: choose another policy.")
    return united(known, lambda la, method: _front(la, method, budget), ("predicted change", budget))


def _form(layer: Layer, method: str) -> Change | None:
    return next((change for change in layer.changes if change.method == method), None)


def _front(layer: Layer, method: str, budget: Budget) -> Front:
    """The front of all ranks within the grid that save something, and of the dense layer."""
    dense, own = _form(layer, "none"), _form(layer, method)
    assert dense and own, "only layers that were measured take part"
    whole = Front(np.array([budget.dense(layer)]), np.array([dense.rounding]), [()], [0], ["none"])
    multiple = budget.rule.multiple
    axes = [np.arange(multiple, top + 1, multiple) for top in max_ranks(layer, method)]
    grid = np.ix_(*axes)
    params, _ = amounts(layer, method, grid)
    expected = np.broadcast_to(expected_error(layer, method, grid), params.shape).ravel()
    changes = changes_at(expected, own.errors, own.changes) + own.rounding
    prices = np.broadcast_to(budget.price(layer, method, grid), params.shape).ravel()
    at = np.flatnonzero((params.ravel() < layer.params) & (prices < budget.dense(layer)) & np.isfinite(changes))
    at = at[undominated(prices[at], changes[at])]  # most are not: ranks are named for those that are left
    places = np.unravel_index(at, params.shape)
    ranks = list(zip(*(axis[i].tolist() for axis, i in zip(axes, places, strict=True)), strict=True))
    return front_of([whole, Front(prices[at], changes[at], ranks, [0] * len(at), [method] * len(at))])
