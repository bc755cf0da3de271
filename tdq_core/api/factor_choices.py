"""What `compress` is told of factors: held to what a run's spec would allow, and as the methods take it."""

from typing import Any

from tdq_core.compression.decompose.factors import Options
from tdq_core.errors import InputError
from tdq_core.ranks.plan import Plan
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.choices import EFFORTS

_NOT_OF_CP = {"epc": False, "epc_optimum": False, "effort": "usual"}
"""What the other layers of a plan take where some are decomposed by CP."""


def options_for(plan: Plan, *, fitted: bool, seed: int, **chosen: Any) -> Options:
    """Options for the layers of `plan`; `chosen` are fields of a decomposition by their names.

    Raises:
        InputError: choices that do not go together, as a spec of the same choices would say.
    """
    methods = {part.method for part in plan.decomposed()} or {"svd"}
    for method in methods:
        own = chosen if method == "cp" or "cp" not in methods else chosen | _NOT_OF_CP
        RunSpec.of("given", "given", method=method, rule=RankRule("ratio", 2.0), calibrated=fitted, **own)
    if chosen["epc"] and "cp" not in methods:
        raise InputError("The 'epc' shrinks components that cancel each other, and only CP has such components.")
    effort = EFFORTS[chosen["effort"]]
    return Options(
        seed=seed, eta=chosen["eta"] if chosen["epc"] else None, optimal=chosen["epc_optimum"], effort=effort.times,
        climbs=effort.climbs, solver=chosen["solver"],
    )  # fmt: skip
