"""Reports of recipes written anew from the outcomes of their runs, without measuring: what they tell of drops and
intervals is today's arithmetic. No torch here.
"""

from pathlib import Path

from tdq_core.recipes.choices import Pick, pick
from tdq_core.recipes.report import RECIPES, Report, write_up
from tdq_core.recipes.target import parse_target
from tdq_core.records.store import RunStore, Store


def rewritten(report: Report, store: RunStore) -> Report:
    """The report on the same runs, each judged again; its name and its question stay.

    Raises:
        ValueError: a run that the report speaks of is not in the store.
    """
    target = parse_target(report.target)

    def again(told: Pick) -> Pick:
        if (record := store.get(told.run_id)) is None:
            raise ValueError(f"The recipe {report.recipe_id} speaks of the run {told.run_id}, which is not there.")
        return pick(record, told.arm, told.ratio, target)

    if report.call:
        raise ValueError(f"The recipe {report.recipe_id} goes by times of the machine that it was asked on.")
    tried = [(again(told), record) for told in report.tried if (record := store.get(told.run_id))]
    return write_up(target, report.spec, report.finetune, again(report.reference), tried)


def rewrite_recipes(folder: Path) -> None:
    """Every report in the `recipes` of a folder of runs."""
    store = Store(RECIPES, folder)
    for report in store.all():
        store.put(rewritten(report, RunStore(folder)))
