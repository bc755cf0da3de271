"""How a ratio is shared out over the layers. Whatever the policy, the plan reaches the ratio of what the budget counts.

`tdq_core.specs.choices.POLICIES` describes the policies; here stands what carries each out. No torch here.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tdq_core.layers.methods import Modes, Ranks
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.allocate import solve_global
from tdq_core.ranks.costs import cost, max_ranks, saves
from tdq_core.ranks.modes import energy_rank, evbmf_modes, ranks_or_reason, weakened
from tdq_core.ranks.ratio import allowance, bisected, offered, require_reach, solve_later, solve_ratio
from tdq_core.specs.choices import POLICIES
from tdq_core.specs.rank_rule import RankRule

Takers = Sequence[tuple[Layer, str]]
"""Layers that may be decomposed, in model order, with the method that each takes."""
Shares = dict[str, Ranks | str]
"""By layer its ranks, or why it stays dense."""


def share_out(table: LayerTable, takers: Takers, rule: RankRule) -> Shares:
    """The ratio of `rule`, by its policy.

    Raises:
        Refused: the ratio is out of reach; the sentence names one that is not.
    """
    return SHARERS[rule.policy](table, takers, rule)


def no_ranks(layer: Layer, method: str, rule: RankRule) -> str | None:
    """Why the rule has no rank to offer to `layer`, or None."""
    if POLICIES[rule.policy].by_ladder:
        some = bool(offered(layer, method, rule))
    else:
        tops = max_ranks(layer, method)
        least = (rule.multiple,) * len(tops)
        some = min(tops) >= rule.multiple and saves(layer, cost(layer, method, least), rule.budget)
    if some:
        return None
    which = "" if rule.multiple == 1 else f" that is a multiple of {rule.multiple}"
    small = "it is" if layer.groups == 1 else f"its {layer.groups} groups are"
    return f"no rank{which} saves {'params' if rule.budget == 'params' else 'params and MACs'}: {small} too small"


def _uniform(table: LayerTable, takers: Takers, rule: RankRule) -> Shares:
    ladders = {la.name: offered(la, method, rule) for la, method in takers}
    return {**solve_ratio(table, [la for la, _ in takers], ladders, rule)}


def _later(table: LayerTable, takers: Takers, rule: RankRule) -> Shares:
    ladders = {la.name: offered(la, method, rule) for la, method in takers}
    return solve_later(table, [la for la, _ in takers], ladders, rule)


def _energy(table: LayerTable, takers: Takers, rule: RankRule) -> Shares:
    spectra = {la.name: (np.array(la.spectrum_out), np.array(la.spectrum_in)) for la, _ in takers}

    def modes(layer: Layer, share: float) -> Modes:
        out, in_ = spectra[layer.name]
        return energy_rank(out, share), energy_rank(in_, share)

    return _by_modes(table, takers, rule, modes)


def _vbmf(table: LayerTable, takers: Takers, rule: RankRule) -> Shares:
    found = {la.name: evbmf_modes(la) for la, _ in takers}
    return _by_modes(
        table, takers, rule, lambda la, share: weakened(la, found[la.name], 1 - share), least=2,
        how="the EVBMF ranks, not weakened, give",
    )  # fmt: skip


def _by_modes(
    table: LayerTable, takers: Takers, rule: RankRule, modes: Callable[[Layer, float], Modes], *, least: int = 1,
    how: str = "",
) -> Shares:  # fmt: skip
    """Ranks from modes that grow with a share in [0, 1): the largest share that fits the budget."""
    layers = [la for la, _ in takers]

    def one(layer: Layer, method: str, share: float) -> Ranks | str:
        given = modes(layer, share)
        return ranks_or_reason(layer, method, given, least=least, budget=rule.budget, multiple=rule.multiple)

    def at(share: float) -> Shares:
        return {la.name: one(la, method, share) for la, method in takers}

    def spent(share: float) -> int:
        shares = at(share)
        taken = [(la, method, shares[la.name]) for la, method in takers]
        return sum(getattr(la if isinstance(r, str) else cost(la, m, r), rule.budget) for la, m, r in taken)

    require_reach(table, layers, rule, spent(0.0), how)
    budget = allowance(table, layers, rule)
    return at(bisected(lambda share: spent(share) <= budget))


SHARERS: dict[str, Callable[[LayerTable, Takers, RankRule], Shares]] = {
    "uniform": _uniform,
    "later": _later,
    "energy": _energy,
    "vbmf": _vbmf,
    "global": solve_global,
}
