"""The curve that a plan lies on: what is predicted of its pipeline at other ratios, and what was measured of it."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from msgspec import structs

from dashboard.facts.planning import planned_bytes
from tdq_core.errors import TDQError
from tdq_core.prediction.predictor import Prediction, Predictor
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.records.record import RunRecord
from tdq_core.specs import PRECISIONS, RankRule, RunSpec

RATIOS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


class Files(NamedTuple):
    """What is known of a network's files before another one is written.

    Attributes:
        dense: bytes of the untouched network's.
        besides: bytes that files of the same numbers hold besides weights, as those that were measured do; 0 where none
            was.
    """

    dense: int
    besides: int = 0


class Foreseen(NamedTuple):
    """A prediction at a params ratio (original / compressed); drop and 90 % interval as shares of the images, sizes as
    planned; of `bytes` what a file holds besides weights is judged by others, see `Files`."""

    ratio: float
    drop: float
    low: float
    high: float
    params: int = 0
    macs: int = 0
    bytes: int = 0
    size_ratio: float = 1.0


class Seen(NamedTuple):
    """A measured run of the same pipeline, with its 95 % interval."""

    ratio: float
    drop: float
    low: float
    high: float
    record: RunRecord


class Curve(NamedTuple):
    """What is predicted of a pipeline at several ratios, and the runs of it that were measured."""

    front: Sequence[Foreseen]
    seen: Sequence[Seen]
    files: Files


def files_like(records: Sequence[RunRecord], spec: RunSpec, params: int) -> Files:
    """Of complete runs of one network with so many params; `spec` says in which numbers a file is to come."""
    base = records[0].baseline if records else None
    bits, numbers = PRECISIONS[spec.precision.name].weight_bits, (spec.precision.name, spec.precision.backend)
    over = [
        r.metrics.bytes - r.metrics.params * bits / 8
        for r in records
        if r.metrics and (r.spec.precision.name, r.spec.precision.backend, r.spec.precision.bits) == (*numbers, "same")
    ]
    return Files(base.bytes if base else 4 * params, max(0, round(median(over))) if over else 0)


def foreseen(predictor: Predictor, spec: RunSpec, plan: Plan, files: Files) -> Foreseen | None:
    """What is predicted of one plan; None where nothing is."""
    return as_foreseen(predictor.predict(spec, plan.layers, images=spec.images.samples), spec, plan, files)


def as_foreseen(found: Prediction, spec: RunSpec, plan: Plan, files: Files) -> Foreseen | None:
    """A prediction beside the sizes of its plan; None where nothing was predicted."""
    if found.drop is None or found.low is None or found.high is None:
        return None
    size = plan.bytes or planned_bytes(plan, spec.precision.name) + files.besides
    return Foreseen(
        plan.compression_ratio, found.drop, found.low, found.high, plan.params, plan.macs, size, files.dense / size
    )


def front(predictor: Predictor, spec: RunSpec, files: Files) -> list[Foreseen]:
    """The pipeline of `spec` at other ratios, shared out as its rule shares, ranks by hand by the same share."""
    rule = spec.rule
    if spec.method == "none":
        return []
    sharing = rule if rule and rule.kind == "ratio" else RankRule("ratio", RATIOS[0])
    found = []
    for ratio in RATIOS:
        try:
            plan = make_plan(predictor.table(spec), spec.method, structs.replace(sharing, value=ratio), spec.precision)
        except TDQError:  # out of reach
            break
        if point := foreseen(predictor, spec, plan, files):
            found.append(point)
    return found


def measured(records: Iterable[RunRecord], spec: RunSpec) -> list[Seen]:
    """Complete runs of the same network, method, fit and numbers, whatever their ranks, on the same images."""

    def pipeline(of: RunSpec) -> tuple[object, ...]:
        made = of.decomposition
        fit = (made.method, made.epc, made.calibrated, made.symmetric) if made else ()
        return of.model, of.images.data, of.images.samples, fit, of.precision, of.treatment

    name, wanted = spec.precision.name, pipeline(spec)
    near = [record for record in records if record.metrics and record.spec.precision.name == name]
    own = [record for record in near if pipeline(record.spec) == wanted]
    seen = [Seen(r.metrics.compression_ratio, *r.drop(), r) for r in own if r.metrics]
    return sorted(seen, key=lambda each: each.ratio)
