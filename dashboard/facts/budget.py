"""The best measured run for a budget: chosen on one half of the images, judged on the other. Plain values."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dashboard.facts.comparison import conditions, times
from dashboard.words import text
from tdq_core.recipes.choices import LEAST_IMAGES, Pick, pick, verdict_on
from tdq_core.recipes.target import Target
from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.stats.intervals import upper_bounds
from tdq_core.stats.verdict import Verdict, images_to_settle

MOST_ROWS = 12
SLACK = 1e-6
"""Two ways to the same bound differ by less."""
MB = 1e6
Conditions = tuple[object, ...]
"""Batch, threads, machine and what runs it: see `conditions`."""


class Judged(NamedTuple):
    """A run in the light of the budget.

    Attributes:
        images: that judge it.
        settles: about how many would show that it keeps the bound; None where no number would.
    """

    record: RunRecord
    pick: Pick
    verdict: Verdict
    images: int
    settles: int | None


class Budget(NamedTuple):
    """A drop of at most `points`, in a file of at most `megabytes` (None: any); `fastest`: under these conditions the
    fastest wins, None: the smallest file does; `simulated`: files of few bits count too, which are as small as they are
    said to be and are computed in floats."""

    points: float
    megabytes: float | None = None
    fastest: Conditions | None = None
    simulated: bool = False

    @property
    def target(self) -> Target:
        return Target.of("drop", self.points)


class Answer(NamedTuple):
    """What was found.

    Attributes:
        best: None where no measured run keeps the bound on the half that chooses.
        others: that keep it too, in order.
        nearest: of those that fit the file's size, the one that loses least on that half.
        looked_at: how many runs were asked.
    """

    best: Judged | None
    others: tuple[Judged, ...]
    nearest: Judged | None
    looked_at: int


def answer(runs: Iterable[RunRecord], budget: Budget) -> Answer:
    """The best of complete `runs` for the budget, among those that are smaller than the untouched network."""
    fit = [r for r in runs if _fits(r, budget)]
    lost = _lost_where_chosen(fit)
    judged = [_judge(r, budget) for r in _not_beyond(fit, lost, budget)]
    met = sorted((j for j in judged if j.pick.met), key=lambda j: _rank(j, budget))
    drops = {r.run_id: (gone - won) / images for r, (gone, won, images) in zip(fit, lost, strict=True)}
    nearest = min(fit, key=lambda r: (drops[r.run_id], _bytes(r)), default=None)
    return Answer(met[0] if met else None, tuple(met[1:]), _judge(nearest, budget) if nearest else None, len(fit))


def smallest(runs: Iterable[RunRecord], budget: Budget) -> RunRecord | None:
    """The best run of `answer` where size decides, without judging those that are larger; None where there is none."""
    fit = [r for r in runs if _fits(r, budget)]
    fit = sorted(_not_beyond(fit, _lost_where_chosen(fit), budget), key=_bytes)
    for _, same in itertools.groupby(fit, key=_bytes):
        if met := [judged for r in same if (judged := _judge(r, budget)).pick.met]:
            return min(met, key=lambda j: _rank(j, budget)).record
    return None


def _lost_where_chosen(runs: Sequence[RunRecord]) -> list[tuple[int, int, int]]:
    """Of each run, on the half that chooses: images that it loses, that it wins, and all of them."""
    found = []
    for record in runs:
        assert record.metrics and record.baseline, "complete"
        before, after = record.baseline.correct()[::2], record.metrics.correct()[::2]
        found.append((int(np.count_nonzero(before & ~after)), int(np.count_nonzero(after & ~before)), len(before)))
    return found


def _not_beyond(runs: Sequence[RunRecord], lost: Sequence[tuple[int, int, int]], budget: Budget) -> list[RunRecord]:
    """Without those whose bound on the half that chooses lies clearly beyond the budget's; found for all at once."""
    bounds = upper_bounds(*np.array(lost, dtype=np.int64).reshape(-1, 3).T)
    return [r for r, bound in zip(runs, bounds, strict=True) if bound <= budget.target.limit + SLACK]


def _bytes(record: RunRecord) -> int:
    return record.metrics.bytes if record.metrics else 0


def _fits(record: RunRecord, budget: Budget) -> bool:
    metrics = record.metrics
    if metrics is None or metrics.n < LEAST_IMAGES or record.bytes_ratio() <= 1:
        return False
    if record.spec.precision.numbers.simulated and not budget.simulated:
        return False
    if budget.megabytes is not None and metrics.bytes > budget.megabytes * MB:
        return False
    return budget.fastest is None or conditions(record) == budget.fastest


def _judge(record: RunRecord, budget: Budget) -> Judged:
    rule = record.spec.rule
    found = pick(record, "measured", rule.value if rule and rule.kind == "ratio" else None, budget.target)
    assert record.metrics, "complete"
    images = record.metrics.n // 2
    settles = images_to_settle(found.verified_drop, budget.target.limit, images)
    return Judged(record, found, verdict_on(found, budget.target), images, settles)


def _rank(judged: Judged, budget: Budget) -> tuple[float, float]:
    metrics = judged.record.metrics
    if budget.fastest is not None and metrics and metrics.latency:
        return metrics.latency.median_ms, judged.pick.bytes
    return judged.pick.bytes, judged.pick.chosen_drop[0]


def timed_under(runs: Iterable[RunRecord]) -> dict[Conditions, int]:
    """The conditions under which latencies were measured, with how many of the compressed runs were, most first."""
    found: dict[Conditions, int] = {}
    for record in runs:
        if record.spec.decomposition and (under := conditions(record)):
            found[under] = found.get(under, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def conditions_text(under: Conditions) -> str:
    """'batch 16, 1 thread, AMD EPYC, ONNX Runtime'."""
    batch, threads, cpu, backend = under
    return f"batch {batch}, {threads} thread{'s' * (threads != 1)}, {cpu}, {text.backend(str(backend))}"


def verdict_words(judged: Judged, budget: Budget) -> str:
    """What the images that no choice looked at say, in a sentence."""
    bound = f"at most {budget.points:g} point{'s' * (budget.points != 1)}"
    if judged.verdict == Verdict.SHOWN:
        return f"**Shown**: on {judged.images:,} images that no choice looked at, the whole interval is {bound}."
    if judged.verdict == Verdict.MISSED:
        return f"**Missed**: on {judged.images:,} images that no choice looked at it loses more than {bound[8:]}."
    more = f" About {judged.settles:,} such images would settle it." if judged.settles else ""
    return (
        f"**Consistent** with {bound}, and not shown: on {judged.images:,} images that no choice looked at, the "
        f"interval reaches beyond.{more}"
    )


def speed_words(record: RunRecord, runs: Sequence[RunRecord]) -> str:
    """How long a batch takes beside the untouched network under the same conditions; '' where neither was timed."""
    under, metrics = conditions(record), record.metrics
    if under is None or metrics is None or metrics.latency is None:
        return "How long it takes has not been measured; 'Time' on the page Explore does that."
    beside = []
    for dense in runs:
        known = dense.metrics.latency if dense.metrics else None
        if dense.spec.decomposition is None and known and conditions(dense) == under:
            said = times(metrics.latency.median_ms / known.median_ms)
            beside.append(f"beside the dense network in {dense.spec.precision.numbers.label} it {said}")
    told = "; ".join(beside) or "the dense network was not timed under the same conditions, so nothing is compared"
    return f"**{text.latency(record)}**: {told}."


def rows(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """Runs that keep the bound, best first."""
    return [
        {
            "what it is": f"{text.method_label(j.record.spec)}, {ranks_text(j.record.spec) or 'not decomposed'}",
            "precision": j.record.spec.precision.numbers.label,
            "runs on": text.backend(j.record.spec.precision.backend),
            "MB": j.pick.bytes / MB,
            "smaller": j.pick.bytes_ratio,
            "drop where chosen": 100 * j.pick.chosen_drop[0],
            "drop on the others": f"{text.points(j.pick.verified_drop[0])} {text.interval(*j.pick.verified_drop[1:])}",
            "verdict": str(j.verdict),
            "time": text.latency(j.record),
            "run": j.record.run_id,
        }
        for j in judged
    ]
