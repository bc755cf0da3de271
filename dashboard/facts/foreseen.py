"""The curve that a plan lies on: what is predicted of its pipeline at other ratios, and what was measured of it."""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import structs

from tdq_core.errors import TDQError
from tdq_core.prediction.predictor import Predictor
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.records.record import RunRecord
from tdq_core.specs import RankRule, RunSpec

RATIOS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


class Foreseen(NamedTuple):
    """A prediction at a params ratio (original / compressed); drop and 90 % interval as shares of the images."""

    ratio: float
    drop: float
    low: float
    high: float


class Seen(NamedTuple):
    """A measured run of the same pipeline, with its 95 % interval."""

    ratio: float
    drop: float
    low: float
    high: float
    record: RunRecord


def foreseen(predictor: Predictor, spec: RunSpec, plan: Plan) -> Foreseen | None:
    """What is predicted of one plan; None where nothing is."""
    found = predictor.predict(spec, plan.layers, images=spec.images.samples)
    if found.drop is None or found.low is None or found.high is None:
        return None
    return Foreseen(plan.compression_ratio, found.drop, found.low, found.high)


def front(predictor: Predictor, spec: RunSpec) -> list[Foreseen]:
    """The pipeline of `spec` at other ratios, shared out as its rule shares, ranks by hand by the same share."""
    rule = spec.rule
    sharing = rule if rule and rule.kind == "ratio" else RankRule("ratio", RATIOS[0])
    found = []
    for ratio in RATIOS:
        try:
            plan = make_plan(predictor.table(spec), spec.method, structs.replace(sharing, value=ratio))
        except TDQError:  # out of reach
            break
        if point := foreseen(predictor, spec, plan):
            found.append(point)
    return found


def measured(records: Iterable[RunRecord], spec: RunSpec) -> list[Seen]:
    """Complete runs of the same network, method, fit and numbers, whatever their ranks, on the same images."""

    def pipeline(of: RunSpec) -> tuple[object, ...]:
        made = of.decomposition
        fit = (made.method, made.epc, made.calibrated, made.symmetric) if made else ()
        return of.model, of.images.data, of.images.samples, fit, of.precision, of.treatment

    own = [record for record in records if record.metrics and pipeline(record.spec) == pipeline(spec)]
    seen = [Seen(r.metrics.compression_ratio, *r.drop(), r) for r in own if r.metrics]
    return sorted(seen, key=lambda each: each.ratio)
