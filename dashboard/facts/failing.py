"""Where CP fails in INT8, layer by layer, and what mends it: from measured runs at one ratio. Plain values."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dashboard.facts.curves import curves_of, rounded
from dashboard.facts.study_views import CP_INT8, Line
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.analysis.additivity import Interval
from tdq_core.analysis.components import Components
from tdq_core.records.record import RunRecord
from tdq_core.specs import RankRule

BARE, MENDED = "as it is", "with EPC"
"""What is shown beside each other: components as least squares leaves them, and corrected ones."""
CANCELS_FROM = 2.0
"""Sum of squared component norms over |W|^2 from which components are said to cancel each other."""


class Step(NamedTuple):
    """One way to the same ratio.

    Attributes:
        drop: against the dense network; lost: on top of FP32 with the same ranks; None where that was not measured.
    """

    line: Line
    record: RunRecord
    drop: Interval
    lost: Interval | None


class LayerLoss(NamedTuple):
    """What rounding alone does to the kernel of one layer.

    Attributes:
        error: |W_rounded - W| / |W|, of the decomposed kernel.
        squares: sum of the squared norms of its components, over that of the kernel.
    """

    layer: str
    error: float
    squares: float


class Failure(NamedTuple):
    """One ratio: the steps in their order, and the layers of CP as it is and with EPC."""

    rule: RankRule
    steps: tuple[Step, ...]
    bare: tuple[LayerLoss, ...]
    mended: tuple[LayerLoss, ...]


def failures(records: Sequence[RunRecord]) -> list[Failure]:
    """Every ratio at which CP was measured in INT8 as it is, the one where rounding takes most first."""
    curves = curves_of(CP_INT8, records)
    losses = {r.record.run_id: r.loss for curve in curves for r in rounded(curve, curves)}
    bare = next((c for c in curves if c.line.condition is False), None)
    rules = [p.record.spec.rule for p in bare.points if p.record.run_id in losses] if bare else []
    found = []
    for rule in filter(None, rules):
        at_rule = [(c.line, p.record) for c in curves for p in c.points if p.record.spec.rule == rule]
        steps = tuple(Step(line, r, r.drop(), losses.get(r.run_id)) for line, r in at_rule)
        found.append(Failure(rule, steps, _layers(steps, epc=False), _layers(steps, epc=True)))
    return sorted(found, key=lambda f: -_taken(f))


def nearest_first(studies: Iterable[Components], rule: RankRule | None) -> list[Components]:
    """Studies of components in the order of how near their ratio is to that of `rule`, the same rule first of all; as
    they are where there is none."""
    if rule is None or not rule.value:
        return list(studies)
    wanted = math.log(rule.value)
    return sorted(studies, key=lambda s: (s.spec.rule != rule, abs(math.log(_ratio(s) or math.inf) - wanted)))


def _ratio(study: Components) -> float | None:
    return study.spec.rule.value if study.spec.rule else None


def _taken(failure: Failure) -> float:
    """What rounding takes from CP as it is."""
    return next((s.lost[0] for s in failure.steps if s.line.condition is False and s.lost), 0.0)


def _layers(steps: Sequence[Step], *, epc: bool) -> tuple[LayerLoss, ...]:
    """The layers of the first run with integers, fitted to weights."""
    runs = [s.record for s in steps if s.line.variant.epc == epc and not s.line.variant.fitted and s.lost is not None]
    told = [(la.name, la.detail) for la in runs[0].layers] if runs else []
    return tuple(
        LayerLoss(name, detail["rounding_error"], 10 ** detail["log10_norms"])
        for name, detail in told
        if detail.get("rounding_error") is not None and detail.get("log10_norms") is not None
    )


def ratio_text(failure: Failure) -> str:
    """'3x'."""
    return f"{failure.rule.value or 0:g}x"


def cause_text(failure: Failure) -> str:
    """Which layer loses most, and what its components have to do with it."""
    if not failure.bare:
        return "These runs do not say what rounding does to each layer."
    worst = max(failure.bare, key=lambda la: la.error)
    cancel = sum(la.squares >= CANCELS_FROM for la in failure.bare)
    told = (
        f"Rounding alone moves the kernel of {plain(worst.layer)} by **{text.percent(worst.error, 0)}** of its size; "
        f"the squared norms of its components add up to **{_times(worst.squares)} times** that of the kernel: large "
        f"components cancel each other, and their rounding errors do not. In {cancel} of {len(failure.bare)} layers "
        f"they add up to {CANCELS_FROM:g} times or more."
    )
    after = next((la for la in failure.mended if la.layer == worst.layer), None)
    if after is None:
        return told
    return (
        f"{told} With EPC the same layer has {_times(after.squares)} times, and rounding moves it by "
        f"{text.percent(after.error, 1)}."
    )


def _times(ratio: float) -> str:
    """'1,350', '223' or '2.6'."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def taken_text(failure: Failure) -> str:
    """What INT8 takes on top of decomposition, step by step."""
    told = [f"{s.line.label.replace(', INT8', '')}: {_lost(s)}" for s in failure.steps if s.lost is not None]
    where = f"At {ratio_text(failure)} INT8 takes, on top of what decomposition costs in FP32"
    return f"{where}, in points: {'; '.join(told)}."


def _lost(step: Step) -> str:
    assert step.lost, "asked of runs with integers"
    return f"**{text.points(step.lost[0])}** {text.interval(*step.lost[1:])}"
