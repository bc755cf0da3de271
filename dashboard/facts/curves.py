"""A view's lines with their runs, and what fewer bits lose beside fp32: plain values, no streamlit."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dashboard.facts.study_views import Line, Point, View, points_of
from tdq_core.analysis.additivity import Interval
from tdq_core.records.record import RunRecord


class Curve(NamedTuple):
    line: Line
    points: tuple[Point, ...]


def curves_of(view: View, records: Sequence[RunRecord]) -> tuple[Curve, ...]:
    """The view's lines that have at least one decomposed run."""
    found = (curve_of(line, records) for line in view.lines)
    return tuple(curve for curve in found if curve)


def curve_of(line: Line, records: Sequence[RunRecord]) -> Curve | None:
    """The line with its runs; None where none of them is decomposed."""
    points = points_of(line, records)
    return Curve(line, points) if any(p.record.spec.decomposition for p in points) else None


class Rounded(NamedTuple):
    """A run in fewer bits than fp32, and what that loses against fp32 at the same ranks."""

    ratio: float
    record: RunRecord
    loss: Interval


def rounded(curve: Curve, curves: Iterable[Curve]) -> tuple[Rounded, ...]:
    """The curve's runs beside those in fp32 of the same variant, policy and rule, paired by image; none without."""
    line = curve.line
    if line.precision == "fp32":
        return ()
    plain = [p.record for other in curves if other.line.is_plain(line) for p in other.points]
    pairs = [(p, next((r for r in plain if r.spec.rule == p.record.spec.rule), None)) for p in curve.points]
    return tuple(
        Rounded(p.ratio, p.record, p.record.metrics.drop_from(before.metrics))
        for p, before in pairs
        if before and before.metrics and p.record.metrics
    )
