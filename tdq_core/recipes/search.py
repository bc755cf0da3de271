"""From a target to the runs that answer it: every pipeline is followed along its ratios by bisection.

Choices look at every other image of the set (first, third, ...); the images between verify them. All runs are ordinary
ones, with their latency: they are kept, and a second recipe on the same model reads them.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from tdq_core.errors import RunFailed
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.recipes.candidates import DENSE, RATIOS, REFERENCE, Arm, arms
from tdq_core.recipes.choices import Pick, pick, require_images
from tdq_core.recipes.foreseen import first_to_try
from tdq_core.recipes.report import RECIPES, Report, write_up
from tdq_core.recipes.target import Target
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
    store: RunStore | None = None,
    folder: Path | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Report:
    """Look for what meets `target` on the model and the images of `plain` (its method and precision are not read), and
    keep the report.

    Args:
        finetune: steps of distillation for TDQ's own pipelines; 0: none.
        folder: of runs, where the report goes in `recipes/`; None: `runs/`.

    Raises:
        InputError: fewer images than can be halved.
        RunFailed: a run of the dense model was refused, or any run failed.
        NotKept: the report is there, and could not be written; the error holds it.
    """
    plain = plain.changed(latency=True)
    kept = Store(RECIPES, *([folder] if folder else []))
    kept.require_writable()
    if plain.images.samples is not None:
        require_images(plain.images.samples)
    reference, tried = _searched(plain, target, finetune, store, on_progress, allowed_models)
    report = write_up(target, plain, finetune, reference[0], tried)
    kept.put(report)
    return report


def _searched(
    plain: RunSpec, target: Target, finetune: int, store: RunStore | None, on_progress: Progress,
    allowed_models: Collection[str] | None,
) -> tuple[Judged, list[Judged]]:  # fmt: skip
    """The dense model in fp32, and every run that was looked at, in order."""
    session, tried = Session(), list[Judged]()

    def measure(arm: Arm, ratio: float | None) -> Judged | None:
        where = f"{arm.name} at ratio {ratio:g}" if ratio else arm.name

        def told(stage: str, done: int, total: int) -> None:
            on_progress(f"{where}, {stage}", done, total)

        spec = arm.spec(plain, ratio, finetune)
        record = run(spec, store=store, session=session, on_progress=told, allowed_models=allowed_models).record
        if record.state == "refused" and ratio is not None:
            return None
        if record.state != "complete":
            raise RunFailed(f"A run of the recipe failed ({where}): {record.reason}")
        return pick(record, arm.name, ratio, target), record

    def judge(arm: Arm, ratio: float | None) -> Pick | None:
        found = measure(arm, ratio)
        if found is None:
            return None
        tried.append(found)
        return found[0]

    reference = measure(REFERENCE, None)
    assert reference and reference[1].metrics, "only a ratio is refused, anything else has failed"
    judge(DENSE, None)
    opened = session.open(plain, on_progress=on_progress, allowed_models=allowed_models)
    predictor = session.predictor(opened, store or RunStore()) if not finetune else None
    for arm in arms(foreseen=predictor is not None):
        specs = [arm.spec(plain, ratio, finetune) for ratio in RATIOS]
        first = first_to_try(predictor, target, specs, images=reference[1].metrics.n) if predictor else None
        _along(arm, target, judge, first)
    return reference, tried


def _along(
    arm: Arm, target: Target, judge: Callable[[Arm, float | None], Pick | None], first: int | None = None
) -> None:
    """Look along one pipeline's ratios for the end of those that meet the target: the largest ratio that keeps a drop,
    the smallest that reaches a size or a latency. A ratio that is refused counts as too large.

    By bisection; where the end is foreseen at `first`, from there by steps of 1, 2, 4, ... until it is passed.
    """
    low, high, step = -1, len(RATIOS), 1
    while high - low > 1:
        middle = (low + high) // 2
        if first is not None and low == -1 and high == len(RATIOS):
            middle = first
        elif first is not None and (low == -1 or high == len(RATIOS)):
            middle = min(max(low + step if high == len(RATIOS) else high - step, low + 1), high - 1)
            step *= 2
        found = judge(arm, RATIOS[middle])
        if found is None:
            high = middle
        elif target.smallest_wins:
            low, high = (middle, high) if found.met else (low, middle)
        else:
            low, high = (low, middle) if found.met else (middle, high)
