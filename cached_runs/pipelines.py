"""The study's pipeline against TDQ's own, both in INT8: the smallest file of either within a bound on the drop, by one
rule that the page Study, the README and `docs/zoo.md` share. No torch here.

A choice looks at one half of the images; the other half says what it is worth. Which half that is matters, so the rule
is also asked over many random halves.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cached_runs.study import tucker2_of
from tdq_core.recipes.choices import Pick, best_first, pick
from tdq_core.recipes.target import Target
from tdq_core.records.record import RunRecord
from tdq_core.stats.intervals import upper_bounds

BOUNDS = (0.005, 0.01, 0.02, 0.03)
"""On the drop of top-1, as shares."""
POINT = 0.01
HALVES = 2000
"""Random halves that are tried."""


def is_study_pipeline(record: RunRecord) -> bool:
    """Tucker-2 of the weights, then INT8, as the study did it."""
    spec = record.spec
    as_it_did = spec.method == tucker2_of(spec.model.name) and not spec.calibrated and not spec.treatment.finetune
    return as_it_did and spec.precision.name == "int8"


def is_own_pipeline(record: RunRecord) -> bool:
    """What TDQ would do: factors fitted to outputs, conditioned, INT8."""
    spec = record.spec
    made = spec.decomposition
    fitted = made is not None and made.calibrated and not made.symmetric
    return fitted and spec.precision.name == "int8" and spec.treatment.condition


def is_few_bits(record: RunRecord) -> bool:
    """The same to weights of few bits, found by what layers compute."""
    made, precision = record.spec.decomposition, record.spec.precision
    return made is not None and made.calibrated and precision.quantization_aware


class Pipeline(NamedTuple):
    name: str
    holds: Callable[[RunRecord], bool]

    def runs(self, records: Sequence[RunRecord]) -> list[RunRecord]:
        """Its complete runs."""
        return [r for r in records if r.state == "complete" and self.holds(r)]


STUDYS = Pipeline("the study's", is_study_pipeline)
OWN = Pipeline("TDQ's own", is_own_pipeline)
PIPELINES = (STUDYS, OWN)
FEW_BITS = Pipeline("TDQ's own, few bits", is_few_bits)


def smallest(
    records: Sequence[RunRecord], pipeline: Pipeline, limit: float, *, looked_at: np.ndarray | None = None
) -> tuple[list[Pick], Pick | None]:
    """Every run of the pipeline, and the best of those whose drop keeps the bound `limit`.

    Args:
        looked_at: which images the choice looks at, bool of shape (n,); None: every other one, from the first.
    """
    target = Target("drop", limit)
    picks = [pick(r, pipeline.name, None, target, looked_at=looked_at) for r in pipeline.runs(records)]
    return picks, next((p for p in best_first(picks, target) if p.met), None)


class Chosen(NamedTuple):
    """What the rule takes on one random half.

    Attributes:
        run_id: None where no run keeps the bound there; bytes_ratio is 0 then.
        verified: whether the run keeps it on the other half too, by the middle of the interval.
    """

    run_id: str | None
    bytes_ratio: float
    verified: bool


def random_halves(n: int, count: int = HALVES) -> np.ndarray:
    """Which of n images the choice looks at, bool of shape (count, n).

    Always the same halves: numpy's legacy generator, whose draws never change.
    """
    rng = np.random.RandomState(0)
    halves = np.zeros((count, n), dtype=bool)
    for half in halves:
        half[rng.permutation(n)[: (n + 1) // 2]] = True
    return halves


def over_halves(records: Sequence[RunRecord], pipeline: Pipeline, limit: float, halves: np.ndarray) -> list[Chosen]:
    """The choice of `smallest` on each of `halves`, (count, n), without intervals."""
    runs = pipeline.runs(records)
    if not runs:
        return [Chosen(None, 0.0, False)] * len(halves)
    lost = np.stack([_lost(r) for r in runs], axis=1)  # (n, runs)
    gone, won = (halves.astype(np.float64) @ (lost == sign) for sign in (1, -1))  # (count, runs)
    looked_at = halves.sum(axis=1, keepdims=True)
    there = (lost.sum(axis=0) - gone + won) / (halves.shape[1] - looked_at)
    here, most = (gone - won) / looked_at, upper_bounds(gone, won, looked_at)
    target, sizes = Target("drop", limit), [r.metrics.bytes for r in runs if r.metrics]
    found = []
    for first, above, second in zip(here, most, there, strict=True):
        met = [i for i in range(len(runs)) if target.met_by(runs[i], above[i])]
        if not met:
            found.append(Chosen(None, 0.0, False))
            continue
        best = min(met, key=lambda i: (sizes[i], first[i]))
        verified = target.met_by(runs[best], second[best])
        found.append(Chosen(runs[best].run_id, runs[best].bytes_ratio(), verified))
    return found


def _lost(record: RunRecord) -> np.ndarray:
    assert record.metrics and record.baseline, "only complete runs are chosen among"
    return record.baseline.correct().astype(np.float64) - record.metrics.correct()
