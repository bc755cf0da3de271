"""Where along a pipeline a target is predicted to end, so that few of its ratios have to be measured. No torch here."""

import math
from collections.abc import Sequence

from tdq_core.errors import TDQError
from tdq_core.prediction.layer_times import LayerTimes, timed
from tdq_core.prediction.predictor import Predictor
from tdq_core.ranks.plan import make_plan
from tdq_core.recipes.target import Target
from tdq_core.specs import RunSpec
from tdq_core.stats.score import Z90_ABOVE


def first_to_try(
    predictor: Predictor, target: Target, specs: Sequence[RunSpec], *, images: int, times: LayerTimes | None = None
) -> int | None:
    """Of a pipeline's runs at rising ratios the last one that is predicted to keep a drop, by the bound that choices go
    by on half of `images`; None where nothing is predicted, or the target is no drop. `times`: of the layers, where
    ranks follow from them."""
    if target.kind != "drop":
        return None
    last = None
    for place, spec in enumerate(specs):
        drop = _drop(predictor, spec, times)
        if drop is None:
            break
        bound = drop + Z90_ABOVE * math.sqrt(max(drop, 1 / images) / (images / 2))
        last = place if bound <= target.limit else last
    return last


def _drop(predictor: Predictor, spec: RunSpec, times: LayerTimes | None) -> float | None:
    try:
        table = timed(predictor.table(spec), times) if times else predictor.table(spec)
        plan = make_plan(table, spec.method, spec.rule, spec.precision)
    except TDQError:
        return None  # out of reach: nothing is measured there either
    return predictor.predict(spec, plan.layers).drop
