"""What the pages claim of the two pipelines, written from records: what the rule chooses on one half of the images,
what the other half says of it, and how much hangs on which half it is. No torch here.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cached_runs.pipelines import (
    FEW_BITS,
    HALVES,
    OWN,
    PIPELINES,
    POINT,
    STUDYS,
    Chosen,
    over_halves,
    random_halves,
    smallest,
)
from tdq_core.recipes.choices import Pick
from tdq_core.records.record import RunRecord
from tdq_core.stats.verdict import verdict

SHOWN = ("resnet20_cifar10", "resnet18_cifar10")
"""Networks of the README's table."""
HEADLINE = "resnet18_cifar10"
_RARE = 0.05
"""Files that fewer halves choose are not named."""


class Verdict(NamedTuple):
    """What one pipeline gives on one network at a bound of one point.

    Attributes:
        runs: chosen among.
        picks: chosen on every other image, and on the images between; None: nothing keeps the bound there.
        over: chosen on random halves.
    """

    runs: int
    picks: tuple[Pick | None, Pick | None]
    over: list[Chosen]

    @property
    def kept(self) -> float | None:
        """Of the random halves that choose a file, the share of which the other half does not miss the bound; None:
        no half chooses one."""
        chosen = [c for c in self.over if c.run_id]
        return sum(c.verified for c in chosen) / len(chosen) if chosen else None


Verdicts = dict[str, tuple[int, dict[str, Verdict]]]
"""By network its number of images, and by pipeline what it gives."""


def verdicts(models: Sequence[str], records: Sequence[RunRecord]) -> Verdicts:
    """What either pipeline gives on each of `models`."""
    found = {}
    for model in models:
        own = [r for r in records if r.spec.model.name == model]
        n = next(r.metrics.n for r in own if r.metrics)
        halves, even = random_halves(n), np.arange(n) % 2 == 0
        found[model] = (
            n,
            {
                p.name: Verdict(
                    len(p.runs(own)),
                    (smallest(own, p, POINT, looked_at=even)[1], smallest(own, p, POINT, looked_at=~even)[1]),
                    over_halves(own, p, POINT, halves),
                )
                for p in (*PIPELINES, FEW_BITS)
                if p in PIPELINES or p.runs(own)
            },
        )
    return found


def halves_table(models: Sequence[str], known: Verdicts) -> str:
    """The smallest file that loses at most one point, by network and pipeline, and by the half that chooses it."""
    heads = ("network, test images", "pipeline", "chosen on every other image", "chosen on the images between",
             f"over {HALVES:,} random halves")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for model in models:
        n, by_pipeline = known[model]
        for name, found in by_pipeline.items():
            cells = (
                f"`{model}`, {n:,}",
                f"{name}, {found.runs} runs",
                *(_pick_text(p) for p in found.picks),
                _over_text(found),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *_advantages(models, known)])


def headline_table(model: str, known: Verdicts, records: Sequence[RunRecord]) -> str:
    """One network in one look: dense, and of each pipeline the file that most of the random halves choose."""
    n, by_pipeline = known[model]
    own = [r for r in records if r.spec.model.name == model and r.metrics]
    dense = {r.spec.precision.name: r for r in own if r.spec.decomposition is None}
    rows = [("dense, FP32", dense["fp32"]), ("dense, INT8", dense["int8"])]
    by_id = {r.run_id: r for r in own}
    for name, found in by_pipeline.items():
        often = Counter(c.run_id for c in found.over if c.run_id).most_common(1)
        if often:
            rows.append((_PIPELINES.get(name, name), by_id[often[0][0]]))
    heads = (f"`{model}` on {n:,} images", "top-1", "drop, points (95 %, paired)", "file", "smaller")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(_headline_cells(name, record))} |" for name, record in rows)])


_PIPELINES = {
    STUDYS.name: "the study's pipeline: Tucker-2, then INT8",
    OWN.name: "TDQ: a form for each layer, fitted to outputs, INT8",
    FEW_BITS.name: "the same with weights of 3 bits (simulated)",
}


def _headline_cells(name: str, record: RunRecord) -> tuple[str, ...]:
    metrics, (drop, low, high) = record.metrics, (100 * x for x in record.drop())
    assert metrics, "only complete runs are shown"
    told = "" if record.spec.precision.name == "fp32" else f"{_points(drop)} [{_points(low)}, {_points(high)}]"
    return (name, f"{100 * metrics.top1:.1f} %", told, f"{metrics.bytes / 1e6:.2f} MB", f"{record.bytes_ratio():.1f}x")


def _pick_text(found: Pick | None) -> str:
    if found is None:
        return "none"
    there, low, high = (100 * x for x in found.verified_drop)
    return (
        f"{found.bytes_ratio:.2f}x, loses {_points(100 * found.chosen_drop[0])}; on the others "
        f"{_points(there)} [{_points(low)}, {_points(high)}]: {verdict(found.verified_drop, POINT)}"
    )


def _over_text(found: Verdict) -> str:
    counts = Counter(f"{c.bytes_ratio:.2f}x" if c.run_id else "none" for c in found.over)
    often = [(name, k / len(found.over)) for name, k in counts.most_common() if k >= _RARE * len(found.over)]
    told = ", ".join(f"{name} in {100 * share:.0f} %" for name, share in often)
    return told if found.kept is None else f"{told}; of those {100 * found.kept:.0f} % not missed"


def _advantages(models: Sequence[str], known: Verdicts) -> list[str]:
    """How much smaller TDQ's own file is than the study's, in the median of the halves that give both one."""
    told = []
    for model in models:
        found = known[model][1]
        pairs = zip(found[OWN.name].over, found[STUDYS.name].over, strict=True)
        both = [own.bytes_ratio / theirs.bytes_ratio for own, theirs in pairs if own.run_id and theirs.run_id]
        if len(both) > HALVES / 2:
            told.append(f"{statistics.median(both):.1f} on `{model}`")
    what = "Where both pipelines find a file, TDQ's own is smaller by this factor (median of the halves)"
    return ["", f"{what}: {', '.join(told)}."] if told else []


def _points(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00")
