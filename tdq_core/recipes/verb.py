"""Recipes from Python."""

from pathlib import Path

from tdq_core.errors import InputError
from tdq_core.recipes.handing_on import hand_on, not_handed_on, require_empty
from tdq_core.recipes.report import Report
from tdq_core.recipes.search import find_recipe
from tdq_core.recipes.target import Target, call_of, parse_target
from tdq_core.specs import RunSpec
from tdq_core.system.progress import Progress, silent


def recipe(
    subject: RunSpec,
    target: Target | str,
    *,
    least: str | None = None,
    batch: int | None = None,
    threads: int | None = None,
    finetune: int = 0,
    export: str | Path | None = None,
    on_progress: Progress = silent,
) -> Report:
    """Find ranks that meet `target` in INT8: chosen on one half of the images, verified on the other.

        found = tdq.recipe(tdq.RunSpec.of("resnet20_cifar10", "cifar10-jpeg"), "drop<=1%", least="latency")

    Args:
        subject: network and images, by their names; how it is decomposed is not read.
        target: 'drop<=1%', 'ratio>=4' or 'latency<=5ms'.
        least: of what keeps a drop, the 'size' of the file (None) or the 'latency': then the layers are timed first
            where they were not, in minutes, and nothing slower than dense INT8 is chosen.
        batch, threads: of the call whose latency it is.
        finetune: steps of distillation for TDQ's own pipelines; 0: none.
        export: also write the chosen file, a card and the report into this folder, which must hold no export; where the
            choice misses the target on the images that verify it, nothing is written, and the report says so.

    Raises:
        InputError: a wrong request; nothing is measured.
        RunFailed: a run of the recipe failed, or the file does not score in a new process what was measured.
        NotKept: the report is there, and could not be written; the error holds it.
    """
    if not isinstance(subject, RunSpec):
        raise InputError(
            "A recipe builds its network many times: name it, as RunSpec.of('resnet20_cifar10', 'cifar10-jpeg') or as "
            f"'nets.py:small'. Got a {type(subject).__name__}."
        )
    wanted = parse_target(target) if isinstance(target, str) else target
    call = call_of(wanted, least=least, batch=batch, threads=threads)
    if export:
        require_empty(Path(export))
    report = find_recipe(subject, wanted, finetune=finetune, call=call, on_progress=on_progress)
    if export and not not_handed_on(report):
        hand_on(report, Path(export), on_progress=on_progress)
    return report
