"""A sweep before it runs: what is measured already, which runs share factors, how long the rest will take.

No torch here.
"""

import statistics
from collections.abc import Collection, Hashable, Iterable
from typing import NamedTuple

from tdq_core.data.refs import parse_ref
from tdq_core.records.record import RunRecord
from tdq_core.specs import BACKENDS, PRECISIONS, ImageSpec, RunSpec
from tdq_core.specs.variant import variant_of
from tdq_core.sweeps.grid import Grid

Task = tuple[RunSpec, ...]
"""Runs that share factors, in the order in which one worker measures them."""
FACTORS = ("read layers", "decompose")
"""Stages that runs which share factors go through once."""
_IMAGES = ("evaluate",)
"""Stages that take as long as there are images."""
_FOUND_S = 0.1
"""Runs that spent less on them were given their factors by another one."""


class Estimate(NamedTuple):
    """What is to be expected, judged by runs that were measured before.

    Attributes:
        seconds: of one worker; unknown: runs that resemble none.
        bytes: of the records.
    """

    seconds: float
    unknown: int
    bytes: int


def tasks_of(specs: Iterable[RunSpec]) -> list[Task]:
    """`specs` as tasks, in the order of their first runs."""
    groups: dict[object, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(_factors(spec), []).append(spec)
    return [tuple(sorted(group, key=_turn)) for group in groups.values()]


def _factors(spec: RunSpec) -> object:
    """What the factors of a run follow from; equal for runs that share them."""
    images = spec.images
    fitted_to = (images.calib or images.data, images.calib_samples) if spec.calibrated else None
    return spec.model, spec.seed, spec.decomposition, fitted_to


def _turn(spec: RunSpec) -> tuple[object, ...]:
    """The dense model first, which others are compared with; then what is conditioned alike side by side."""
    numbers = spec.precision
    names, backends = list(PRECISIONS), list(BACKENDS)
    return (
        looks_like(spec) != looks_like(spec.dense()), repr(spec.treatment),
        names.index(numbers.name), numbers.granularity, numbers.ranges,
        backends.index(numbers.backend), spec.images.data, spec.images.samples or 0,
    )  # fmt: skip


def looks_like(spec: RunSpec) -> RunSpec:
    """The run as its options tell it from others: equal for runs that will have one name, as far as these can tell.

    Images that have a name of their own are the same wherever they lie, and calibration images that are not looked at
    make no difference.
    """
    images, ref = spec.images, parse_ref(spec.images.data)
    if ref.has_calibration_split:
        images = images.elsewhere(ref.kind)
    if not spec.needs_calibration:
        images = ImageSpec(images.data, samples=images.samples)
    return spec.with_parts(images=images)


def estimated(tasks: Iterable[Task], records: Iterable[RunRecord]) -> Estimate:
    """How long `tasks` will take one worker, and how much disk."""
    complete = [r for r in records if r.state == "complete" and r.metrics]
    factors = _medians((_made_like(r.spec), took) for r in complete if (took := _seconds(r, FACTORS)) >= _FOUND_S)
    shown = _medians((_measured_like(r.spec), _seconds(r, _IMAGES) / r.metrics.n) for r in complete if r.metrics)
    rest = _medians((_measured_like(r.spec), _seconds(r) - _seconds(r, FACTORS + _IMAGES)) for r in complete)
    images = _medians((r.spec.model.name, r.metrics.n) for r in complete if r.metrics and not r.spec.images.samples)
    sizes = [len(r.to_json()) for r in complete[:50]]
    seconds, unknown, count = 0.0, 0, 0
    for task in tasks:
        seconds += factors.get(_made_like(task[0]), 0.0)
        for spec in task:
            kind, n = _measured_like(spec), spec.images.samples or images.get(spec.model.name, 0)
            seconds += rest.get(kind, 0.0) + n * shown.get(kind, 0.0)
            unknown += kind not in rest
            count += 1
    return Estimate(seconds, unknown, int(count * statistics.mean(sizes)) if sizes else 0)


def _medians(took: Iterable[tuple[Hashable, float]]) -> dict[Hashable, float]:
    by_kind: dict[Hashable, list[float]] = {}
    for kind, seconds in took:
        by_kind.setdefault(kind, []).append(seconds)
    return {kind: statistics.median(seconds) for kind, seconds in by_kind.items()}


def _made_like(spec: RunSpec) -> Hashable:
    return spec.model.name, variant_of(spec)


def _measured_like(spec: RunSpec) -> Hashable:
    return spec.model.name, spec.precision.name, spec.precision.backend, spec.treatment.finetune


def _seconds(record: RunRecord, stages: Collection[str] | None = None) -> float:
    """What these stages took, or all of them."""
    found = record.provenance.get("seconds")
    took = found.items() if isinstance(found, dict) else ()
    return float(sum(s for stage, s in took if isinstance(s, int | float) and (stages is None or stage in stages)))


class Forecast(NamedTuple):
    """What a sweep will do, as far as options and records tell.

    Attributes:
        measured: how many runs are there already; tasks: the others, by what they share.
    """

    measured: int
    tasks: tuple[Task, ...]
    estimate: Estimate


def forecast(grid: Grid, records: Iterable[RunRecord]) -> Forecast:
    """What is to be measured of `grid`, and how long it will take one worker."""
    known = list(records)
    there = {looks_like(r.spec) for r in known if r.state != "failed"}
    asked = {looks_like(spec): spec for spec in grid.specs}
    missing = {looks: spec for looks, spec in asked.items() if looks not in there}
    dense = {looks_like(spec.dense()): spec.dense() for spec in missing.values()}
    needed = {looks: spec for looks, spec in {**dense, **missing}.items() if looks not in there}
    tasks = tuple(tasks_of(needed.values()))
    return Forecast(len(asked) - len(missing), tasks, estimated(tasks, known))
