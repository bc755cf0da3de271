"""Where along a pipeline a target is predicted to end, so that few of its ratios have to be measured. No torch here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tdq_core.errors import TDQError
from tdq_core.prediction.layer_times import LayerTimes, timed
from tdq_core.prediction.predictor import Prediction, Predictor
from tdq_core.ranks.plan import make_plan
from tdq_core.recipes.target import Target
from tdq_core.specs import RunSpec
from tdq_core.stats.score import Z90_ABOVE


@dataclass(frozen=True)
class Foreseen:
    """What is predicted of the runs of a recipe.

    Attributes:
        images: half of which choose.
        times: of the layers, where ranks follow from them.
    """

    predictor: Predictor
    target: Target
    images: int
    times: LayerTimes | None = None

    def last(self, specs: Sequence[RunSpec]) -> int | None:
        """Of a pipeline's runs at rising ratios the last one that is predicted to keep a drop, by the bound that
        choices go by; None where nothing is predicted, or the target is no drop."""
        if self.target.kind != "drop":
            return None
        last = None
        for place, spec in enumerate(specs):
            drop = self._of(spec).drop
            if drop is None:
                break
            bound = drop + Z90_ABOVE * math.sqrt(max(drop, 1 / self.images) / (self.images / 2))
            last = place if bound <= self.target.limit else last
        return last

    def least_loss(self, spec: RunSpec) -> float | None:
        """The lower end of what the run is predicted to lose; None where nothing is predicted."""
        return self._of(spec).low

    def _of(self, spec: RunSpec) -> Prediction:
        try:
            table = self.predictor.table(spec)
            plan = make_plan(timed(table, self.times) if self.times else table, spec.method, spec.rule, spec.precision)
        except TDQError as error:
            return Prediction(reason=str(error))  # out of reach: nothing is measured there either
        return self.predictor.predict(spec, plan.layers)
