"""How a ratio is shared out over the layers. Whatever the policy, the plan reaches the ratio of what the budget counts.

`tdq_core.specs.choices.POLICIES` describes the policies; here stands what carries each out. No torch here.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tdq_core.layers.methods import Modes, Ranks
from tdq_core.layers.table import Layer
from tdq_core.ranks.allocate import solve_global
from tdq_core.ranks.budget import Budget, form_time
from tdq_core.ranks.costs import max_ranks
from tdq_core.ranks.fronts import Taken
from tdq_core.ranks.modes import energy_rank, evbmf_modes, ranks_or_reason, weakened
from tdq_core.ranks.predicted import solve_predicted
from tdq_core.ranks.ratio import allowance, bisected, offered, offers, require_reach, solve_later, solve_ratio
from tdq_core.specs.choices import POLICIES

Takers = Sequence[tuple[Layer, str]]
"""Layers that may be decomposed, in model order, with the method that each takes."""
Share = Taken | Ranks | str
"""What a layer becomes, or its ranks by the one method that it may take; or why it stays dense."""
Shares = dict[str, Ranks | str]


def share_out(takers: Takers, budget: Budget) -> dict[str, Taken | str]:
    """The ratio of the budget's rule, by its policy.

    Raises:
        Refused: the ratio is out of reach; the sentence names one that is not.
    """
    own = {la.name: method for la, method in takers}
    found = SHARERS[budget.rule.policy](takers, budget)
    return {name: s if isinstance(s, str | Taken) else Taken(own[name], s) for name, s in found.items()}


def no_ranks(layer: Layer, method: str, budget: Budget) -> str | None:
    """Why the rule has no rank to offer to `layer`, or None."""
    rule = budget.rule
    if rule.budget == "latency" and not form_time(layer, method):
        return "it was not timed in this form"
    if POLICIES[rule.policy].by_ladder:
        some = offers(layer, method, budget)
    else:
        tops = max_ranks(layer, method)
        least = (rule.multiple,) * len(tops)
        some = min(tops) >= rule.multiple and budget.saves(layer, method, least)
    if some:
        return None
    which = "" if rule.multiple == 1 else f" that is a multiple of {rule.multiple}"
    small = "it is" if layer.groups == 1 else f"its {layer.groups} groups are"
    return f"no rank{which} saves params{f' and {budget.unit}' if rule.budget != 'params' else ''}: {small} too small"


def _uniform(takers: Takers, budget: Budget) -> Shares:
    ladders = {la.name: offered(la, method, budget) for la, method in takers}
    return {**solve_ratio([la for la, _ in takers], ladders, budget)}


def _later(takers: Takers, budget: Budget) -> Shares:
    ladders = {la.name: offered(la, method, budget) for la, method in takers}
    return solve_later([la for la, _ in takers], ladders, budget)


def _energy(takers: Takers, budget: Budget) -> Shares:
    spectra = {la.name: (np.array(la.spectrum_out), np.array(la.spectrum_in)) for la, _ in takers}

    def modes(layer: Layer, share: float) -> Modes:
        out, in_ = spectra[layer.name]
        return energy_rank(out, share), energy_rank(in_, share)

    return _by_modes(takers, budget, modes)


def _vbmf(takers: Takers, budget: Budget) -> Shares:
    found = {la.name: evbmf_modes(la) for la, _ in takers}
    return _by_modes(
        takers, budget, lambda la, share: weakened(la, found[la.name], 1 - share), least=2,
        how="the EVBMF ranks, not weakened, give",
    )  # fmt: skip


def _by_modes(
    takers: Takers, budget: Budget, modes: Callable[[Layer, float], Modes], *, least: int = 1, how: str = ""
) -> Shares:
    """Ranks from modes that grow with a share in [0, 1): the largest share that fits the budget."""
    layers = [la for la, _ in takers]

    def one(layer: Layer, method: str, share: float) -> Ranks | str:
        return ranks_or_reason(layer, method, modes(layer, share), budget, least=least)

    def at(share: float) -> Shares:
        return {la.name: one(la, method, share) for la, method in takers}

    def spent(share: float) -> int:
        shares = at(share)
        taken = [(la, method, shares[la.name]) for la, method in takers]
        return sum(budget.dense(la) if isinstance(r, str) else budget.price(la, m, r) for la, m, r in taken)

    require_reach(layers, budget, spent(0.0), how)
    allowed = allowance(layers, budget)
    return at(bisected(lambda share: spent(share) <= allowed))


SHARERS: dict[str, Callable[[Takers, Budget], Mapping[str, Share]]] = {
    "uniform": _uniform,
    "later": _later,
    "energy": _energy,
    "vbmf": _vbmf,
    "global": solve_global,
    "predicted": solve_predicted,
}
