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


def curves_in_words(curves: Sequence[Curve]) -> str:
    """For each line what it loses at the middle ratio, and how far it goes within one point."""
    ratios = ratios_of(curves)
    if not ratios:
        return ""
    middle = min(ratios, key=lambda r: abs(r - 2.0))
    lost = [f"{c.line.label} {_drop(r)}" for c in curves if (r := at_ratio(c, middle))]
    kept = text.percent(1 / middle, 0)
    return f"Drops in points at {middle:g}x smaller ({kept} of the params kept): {'; '.join(lost)}. {_reach(curves)}"


def _drop(record: RunRecord) -> str:
    drop, low, high = record.drop()
    return f"{text.points(drop)} {text.interval(low, high)}"


def _reach(curves: Sequence[Curve]) -> str:
    """Up to which ratio each line loses at most a point."""
    reach = {
        c.line.label: [p.ratio for p in c.points if p.record.spec.decomposition and p.record.drop()[0] <= 0.01]
        for c in curves
    }
    within = [f"{label} up to {max(ratios):.2f}x" for label, ratios in reach.items() if ratios]
    beyond = [label for label, ratios in reach.items() if not ratios]
    if not within:
        return "None of them stays within one point of the dense model at any ratio that was measured."
    rest = f" Not at any measured ratio: {'; '.join(beyond)}." if beyond else ""
    return f"Within one point of the dense model stay {'; '.join(within)}.{rest}"


def lost_to_rounding(curves: Sequence[Curve]) -> str:
    """What fewer bits cost beside FP32 at the same ratios, the least and the most of each line."""
    told = []
    for curve in curves:
        losses = [r.loss[0] for r in rounded(curve, curves) if r.record.spec.decomposition]
        if losses:
            least, most = text.points(min(losses)), text.points(max(losses))
            told.append(f"{curve.line.label} {least}" + (f" to {most}" if most != least else ""))
    return f"Lost on top of FP32 at the same ratio, in points: {'; '.join(told)}." if told else ""


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
