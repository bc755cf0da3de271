"""The other way round: from a drop that may be lost to the ranks that save most. No torch here."""

from msgspec import structs

from tdq_core.errors import InputError, Refused
from tdq_core.prediction.predictor import Predictor
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.plan import make_plan
from tdq_core.ranks.predicted import ratio_within
from tdq_core.ranks.takers import takers_of
from tdq_core.specs import RankRule, RunSpec

_DOWN = 1e-6
"""So that rounding never asks for more than there is."""
TURNS = 8
CLOSE = 0.02
"""What layers add to a drop counts by method, and what rounding adds otherwise than what ranks do: how much a plan's
plain sum counts is seen in the plan, to so small a share, in so many turns at most."""


def with_drop(predictor: Predictor, spec: RunSpec, drop: float) -> RunSpec:
    """`spec` by the policy `predicted` at the largest ratio whose predicted drop is at most `drop` (share, 0-1).

    What its ratio counts, whole multiples and whether the ends take part are those of its own rule.

    Raises:
        InputError: `spec` does something that was never measured, or counts bytes or time.
        Refused: not even the smallest saving is predicted to lose so little.
    """
    rule = spec.rule if spec.rule and spec.rule.kind == "ratio" else RankRule("ratio", 2.0)
    if rule.budget not in ("params", "macs"):
        raise InputError(f"Ranks for a drop are found by params or MACs ('budget'). Got {rule.budget}.")
    asked = spec.changed(rule=structs.replace(rule, policy="predicted", depth=1.0))
    table = predictor.table(asked)
    budget = Budget(table, asked.rule or rule, spec.precision)
    takers, most = takers_of(spec.method, budget), predictor.change_for(asked, drop)
    found, weight = None, 1.0
    for _ in range(TURNS):
        ratio = ratio_within(takers, budget, most / weight) * (1 - _DOWN)
        if ratio <= 1:
            break
        tried = _at(asked, ratio)
        layers = make_plan(table, spec.method, tried.rule, spec.precision).layers
        told = predictor.predict(tried, layers)
        if told.drop is None:
            raise InputError(str(told.reason))
        kept, own = told.drop <= drop, predictor.weight(tried, layers)
        found = tried if kept else found
        if kept and own > weight * (1 - CLOSE):
            break
        weight = own if kept else max(own, weight) * (1 + CLOSE / 2)
    if found is None:
        raise Refused(
            f"A predicted drop of at most {100 * drop:g} points is out of reach for '{table.model}' with this method "
            f"and precision: rounding alone is predicted to cost more. Ask for more, or for more bits."
        )
    return found


def _at(asked: RunSpec, ratio: float) -> RunSpec:
    assert asked.rule
    return asked.changed(rule=structs.replace(asked.rule, value=ratio))
