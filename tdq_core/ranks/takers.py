"""Which layers a ratio may decompose, and by which methods; of the others, why not. No torch here."""

from tdq_core.layers import methods
from tdq_core.layers.table import Layer
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import among, method_for, refusal
from tdq_core.ranks.policies import no_ranks
from tdq_core.specs.choices import POLICIES


def why_left(layer: Layer, method: str, budget: Budget) -> str | None:
    """Why an automatic rule leaves `layer` alone whatever the ranks, or None."""
    reasons = {own: _why_left(layer, own, budget) for own in among(layer, method)}
    return None if None in reasons.values() else reasons[method_for(layer, method)]


def takers_of(name: str, budget: Budget) -> list[tuple[Layer, str]]:
    """The layers that a ratio may decompose, each with the methods that it may take where `name` is asked for."""
    return [(la, own) for la in budget.table.layers for own in among(la, name) if not _why_left(la, own, budget)]


def _why_left(layer: Layer, method: str, budget: Budget) -> str | None:
    """The same of one method."""
    if reason := refusal(layer, method):
        return reason
    if layer.end and budget.rule.keep_ends:
        what = "first convolution" if layer.end == "first" else "classifier"
        return f"the {what} stays dense unless the ends are decomposed too"
    if POLICIES[budget.rule.policy].by_prediction and not methods.method(method).predicts:
        return "no spectrum predicts its error in this form"
    return no_ranks(layer, method, budget)
