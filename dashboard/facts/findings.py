"""What the study's curves show, in words counted from their runs: plain values, no streamlit."""

from collections.abc import Sequence

from dashboard.facts.curves import Curve, curve_of, rounded
from dashboard.facts.study_views import Beside
from dashboard.words import text
from tdq_core.records.record import RunRecord

_NEAR = 0.02
"""Ratios that differ by less than this share count as the same one."""


def at_ratio(curve: Curve, ratio: float) -> RunRecord | None:
    """The run of the curve at this ratio, or None."""
    found = [p for p in curve.points if abs(p.ratio / ratio - 1) < _NEAR and p.record.spec.decomposition]
    return found[0].record if found else None


def ratios_of(curves: Sequence[Curve]) -> list[float]:
    """The ratios that the first curve was asked for."""
    rules = [p.record.spec.rule for p in curves[0].points] if curves else []
    return [r.value for r in rules if r and r.value]


def curve_rows(curves: Sequence[Curve]) -> list[dict[str, str]]:
    """For each line what it loses at the middle ratio, how far it goes within one point, and what fewer bits cost
    beside FP32 at the same ratios; [] where there is no ratio."""
    ratios = ratios_of(curves)
    if not ratios:
        return []
    middle = min(ratios, key=lambda r: abs(r - 2.0))
    return [
        {
            "line": curve.line.label,
            f"drop at {middle:g}x (points)": _drop(found) if (found := at_ratio(curve, middle)) else "not measured",
            "within a point, by the middle, up to": _reach(curve),
            "lost on top of FP32 (points)": _lost_to_rounding(curve, curves),
        }
        for curve in curves
    ]


def _drop(record: RunRecord) -> str:
    drop, low, high = record.drop()
    return f"{text.points(drop)} {text.interval(low, high)}"


def _reach(curve: Curve) -> str:
    """Up to which ratio the line loses at most a point."""
    within = [p.ratio for p in curve.points if p.record.spec.decomposition and p.record.drop()[0] <= 0.01]
    return f"{max(within):.2f}x" if within else "at no measured ratio"


def _lost_to_rounding(curve: Curve, curves: Sequence[Curve]) -> str:
    """The least and the most that fewer bits cost beside FP32 at the same ratios; '' for FP32 itself."""
    losses = [r.loss[0] for r in rounded(curve, curves) if r.record.spec.decomposition]
    if not losses:
        return ""
    least, most = text.points(min(losses)), text.points(max(losses))
    return least + (f" to {most}" if most != least else "")


def told_beside(beside: Beside | None, records: Sequence[RunRecord]) -> str:
    """What the one line loses at each of its ratios beside the other; '' where there is nothing to compare."""
    if beside is None:
        return ""
    curve, other = curve_of(beside.line, records), curve_of(beside.other, records)
    if curve is None or other is None:
        return ""
    told = []
    for ratio in ratios_of([curve]):
        old, new = at_ratio(other, ratio), at_ratio(curve, ratio)
        if old and new:
            told.append(f"{ratio:g}x: {text.points(new.drop()[0])} instead of {text.points(old.drop()[0])}")
    return f"{beside.what}: {'; '.join(told)}." if told else ""
