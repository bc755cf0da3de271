"""From a target to the runs that answer it: every pipeline is followed along its ratios by bisection.

Where the smallest file wins, a pipeline is followed only beyond the ratio that an earlier one has reached; and not at
all where it is predicted to miss the target there.

Choices look at every other image of the set (first, third, ...); the images between verify them. All runs are ordinary
ones, with their latency: they are kept, and a second recipe on the same model reads them.

Where a recipe goes by time, ratios are of the dense INT8 model's, as the layers were timed on this machine (where they
were not, that comes first), and what is told to be fastest is timed in turn with dense INT8 before it is the answer.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import structs

from tdq_core.errors import RunFailed
from tdq_core.pipeline.bench import against_dense
from tdq_core.pipeline.layer_times import measure as measure_layers
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.races import Settings
from tdq_core.pipeline.speed.record import Race
from tdq_core.prediction.layer_times import LayerTimes, of_record
from tdq_core.recipes.by_time import ByTime, next_to_race
from tdq_core.recipes.candidates import DENSE, RATIOS, REFERENCE, SPEEDS, Arm, arms
from tdq_core.recipes.choices import Pick, best_first, pick, require_images
from tdq_core.recipes.foreseen import Foreseen
from tdq_core.recipes.report import RECIPES, Report, write_up
from tdq_core.recipes.sentences import Cut
from tdq_core.recipes.target import Call, Target
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import RunSpec
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent

Judged = tuple[Pick, RunRecord]


@contained()
def find_recipe(
    plain: RunSpec,
    target: Target,
    *,
    finetune: int = 0,
    call: Call | None = None,
    store: RunStore | None = None,
    folder: Path | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Report:
    """Look for what meets `target` on the model and the images of `plain` (its method and precision are not read), and
    keep the report.

    Args:
        finetune: steps of distillation for TDQ's own pipelines; 0: none.
        call: whose time is gone by, see `call_of`: least of what keeps a drop, or bounded by a latency; None: the
            file's size is, or the latency that runs measure.
        folder: of runs, where the report goes in `recipes/`; None: `runs/`.

    Raises:
        InputError: fewer images than can be halved; threads that this machine does not have.
        RunFailed: a run of the dense model was refused, or any run failed.
        NotKept: the report is there, and could not be written; the error holds it.
    """
    plain = plain.changed(latency=True)
    kept = Store(RECIPES, *([folder] if folder else []))
    kept.require_writable()
    if plain.images.samples is not None:
        require_images(plain.images.samples)
    search = _Search(plain, target, finetune, store or RunStore(), on_progress, allowed_models)
    by_time = search.by_time(call) if call else None
    reference = search.everything()
    by_time = search.raced(by_time) if by_time else None
    report = write_up(target, plain, finetune, reference[0], search.tried, by_time, search.cut)
    kept.put(report)
    return report


@dataclass
class _Search:
    """One target at work.

    Attributes:
        tried: every run that was looked at, in order.
        cut: pipelines that were not followed from their first ratio.
        times: of the layers, where they are gone by, under `call`.
    """

    plain: RunSpec
    target: Target
    finetune: int
    store: RunStore
    on_progress: Progress
    allowed: Collection[str] | None
    session: Session = field(default_factory=Session)
    tried: list[Judged] = field(default_factory=list)
    cut: list[Cut] = field(default_factory=list)
    call: Call | None = None
    times: LayerTimes | None = None

    def by_time(self, call: Call) -> ByTime:
        """Time the layers, or find their times."""
        Settings((call.batch,), (call.threads,))  # which this machine has
        begun = time.monotonic()
        found = measure_layers(
            DENSE.spec(self.plain, None, 0), batch=call.batch, threads=call.threads, on_progress=self.on_progress,
            allowed_models=self.allowed,
        )  # fmt: skip
        self.call, self.times = call, found.times
        return ByTime(call, None if found.reused else time.monotonic() - begun)

    def everything(self) -> Judged:
        """Every pipeline along its ratios; returns the dense model in fp32."""
        reference = self._measured(REFERENCE, None)
        assert reference and reference[1].metrics, "only a ratio is refused, anything else has failed"
        self._judge(DENSE, None)
        opened = self.session.open(self.plain, on_progress=self.on_progress, allowed_models=self.allowed)
        predictor = self.session.predictor(opened, self.store)
        foreseen = None
        if predictor and not self.finetune:
            foreseen = Foreseen(predictor, self.target, reference[1].metrics.n, self.times)
        for arm in arms(foreseen=predictor is not None, by_time=self.call is not None):
            self._follow(arm, foreseen)
        return reference

    def _follow(self, arm: Arm, foreseen: Foreseen | None) -> None:
        """Along those of its ratios at which the pipeline can still win."""
        ratios = self._ratios()
        reached = self._reached()
        begin = bisect_right(ratios, reached)
        specs = [arm.spec(self.plain, ratio, self.finetune, self.call) for ratio in ratios]
        least = foreseen.least_loss(specs[begin]) if foreseen and 0 < begin < len(ratios) else None
        hopeless = least is not None and least > self.target.limit
        if begin:
            self.cut.append(Cut(arm.name, reached, least if hopeless else None))
        if not hopeless:
            first = foreseen.last(specs) if foreseen else None
            _along(arm, self.target, ratios, self._judge, first, begin)

    def _reached(self) -> float:
        """The ratio up to which a pipeline need not be followed, for another keeps the drop there; 0: from its first.

        Files at one ratio of params are about as large in every form; times are told, and a race may turn them around.
        """
        if not self.target.smallest_wins or self.call:
            return 0.0
        return max((p.ratio for p, _ in self.tried if p.met and p.ratio), default=0.0)

    def raced(self, by_time: ByTime) -> ByTime:
        """With the answer, as far as it is told, timed in turn with dense INT8."""
        races: dict[str, Race] = {}
        while p := next_to_race(best_first([p for p, _ in self.tried], self.target), self.target, races):
            place = next(i for i, (tried, _) in enumerate(self.tried) if tried.run_id == p.run_id)
            settings = Settings((by_time.call.batch,), (by_time.call.threads,))
            (race,) = against_dense(
                self.tried[place][1], settings, session=self.session, allowed_models=self.allowed,
                on_progress=self.on_progress,
            )  # fmt: skip
            races[p.run_id] = race
            if self.target.kind == "latency":
                seen = structs.replace(p, verified=race.run.median_ms <= self.target.limit)
                self.tried[place] = (seen, self.tried[place][1])
        return replace(by_time, races=races)

    def _ratios(self) -> Sequence[float]:
        """Along which pipelines are followed."""
        if self.times is None:
            return RATIOS
        if self.target.kind == "drop":
            return SPEEDS
        needed = self.times.dense_ns / 1e6 / self.target.limit
        return (needed,) if needed > 1 else ()  # dense INT8 is fast enough

    def _judge(self, arm: Arm, ratio: float | None) -> Pick | None:
        found = self._measured(arm, ratio)
        if found is None:
            return None
        self.tried.append(found)
        return found[0]

    def _measured(self, arm: Arm, ratio: float | None) -> Judged | None:
        """None where the ratio is out of reach."""
        where = f"{arm.name} at ratio {ratio:g}" if ratio else arm.name

        def told(stage: str, done: int, total: int) -> None:
            self.on_progress(f"{where}, {stage}", done, total)

        spec = arm.spec(self.plain, ratio, self.finetune, self.call)
        record = run(spec, store=self.store, session=self.session, on_progress=told, allowed_models=self.allowed).record
        if record.state == "refused" and ratio is not None:
            return None
        if record.state != "complete":
            raise RunFailed(f"A run of the recipe failed ({where}): {record.reason}")
        ns = of_record(self.times, record) if self.times and arm is not REFERENCE else None
        return pick(record, arm.name, ratio, self.target, told_ms=None if ns is None else ns / 1e6), record


def _along(
    arm: Arm,
    target: Target,
    ratios: Sequence[float],
    judge: Callable[[Arm, float | None], Pick | None],
    first: int | None = None,
    begin: int = 0,
) -> None:
    """Look along one pipeline's ratios, from `begin` on, for the end of those that meet the target: the largest ratio
    that keeps a drop, the smallest that reaches a size or a latency. A ratio that is refused counts as too large.

    By bisection; where the end is foreseen at `first`, from there by steps of 1, 2, 4, ... until it is passed.
    """
    before, after = begin - 1, len(ratios)
    low, high, step = before, after, 1
    while high - low > 1:
        middle = (low + high) // 2
        if first is not None and (low, high) == (before, after):
            middle = max(first, begin)
        elif first is not None and (low == before or high == after):
            middle = min(max(low + step if high == after else high - step, low + 1), high - 1)
            step *= 2
        found = judge(arm, ratios[middle])
        if found is None:
            high = middle
        elif target.smallest_wins:
            low, high = (middle, high) if found.met else (low, middle)
        else:
            low, high = (low, middle) if found.met else (middle, high)
