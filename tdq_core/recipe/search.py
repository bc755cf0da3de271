"""From a target to the runs that answer it: every pipeline is followed along its ratios by bisection.

Choices look at every other image of the set (first, third, ...); the images between verify them. All runs are ordinary
ones: they are kept, and a second recipe on the same model reads them.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from tdq_core.errors import RunFailed
from tdq_core.pipeline import run
from tdq_core.progress import Progress, silent
from tdq_core.recipe.arms import ARMS, DENSE, RATIOS, Arm
from tdq_core.recipe.report import Pick, Report, pick, write_up
from tdq_core.recipe.target import Target
from tdq_core.records import RunRecord
from tdq_core.specs import RunSpec
from tdq_core.store import RunStore

Measure = Callable[[Arm, float | None], Pick | None]


def find_recipe(
    plain: RunSpec,
    target: Target,
    *,
    finetune: int = 0,
    store: RunStore | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Report:
    """Look for what meets `target` on the model and the images of `plain` (its method and precision are not read).

    Args:
        finetune: steps of distillation for TDQ's own pipelines; 0: none.
    """
    plain = replace(plain, latency=target.kind == "latency")
    tried: list[Pick] = []
    last: list[RunRecord] = []

    def measure(arm: Arm, ratio: float | None) -> Pick | None:
        on_progress(f"recipe: {arm.name} {ratio or ''}".strip(), len(tried), 0)
        spec = arm.spec(plain, ratio, finetune)
        record = run(spec, store=store, on_progress=on_progress, allowed_models=allowed_models).record
        if record.state == "refused":
            return None
        if record.state != "complete":
            raise RunFailed(f"A run of the recipe failed ({arm.name}, ratio {ratio}): {record.reason}")
        last.append(record)
        tried.append(pick(record, arm.name, ratio, target))
        return tried[-1]

    for arm in ARMS:
        if arm is DENSE:
            measure(arm, None)
        else:
            _along(arm, target, measure)
    return write_up(target, last[-1], tried)


def _along(arm: Arm, target: Target, measure: Measure) -> None:
    """Bisect one pipeline's ratios for the end of those that meet the target: the largest ratio that keeps a drop, the
    smallest that reaches a size or a latency. A ratio that is refused counts as too large."""
    low, high = -1, len(RATIOS)
    while high - low > 1:
        middle = (low + high) // 2
        found = measure(arm, RATIOS[middle])
        if found is None:
            high = middle
        elif target.smallest_wins:
            low, high = (middle, high) if found.met else (low, middle)
        else:
            low, high = (low, middle) if found.met else (middle, high)
