"""What a recipe has found as a file for use elsewhere: the chosen run's export, with the report beside it."""

from collections.abc import Collection
from pathlib import Path

from tdq_core.errors import InputError, RunFailed
from tdq_core.pipeline.export import require_export
from tdq_core.pipeline.exports import told as telling
from tdq_core.pipeline.exports.export import Exported, export_run
from tdq_core.recipes.choices import verdict_on
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import parse_target
from tdq_core.records.store import RunStore
from tdq_core.specs.formats import file_format
from tdq_core.stats.verdict import Verdict
from tdq_core.system.files import write_atomically
from tdq_core.system.progress import Progress, silent

NAME = "recipe.json"


def require_empty(folder: Path) -> None:
    """InputError where an answer cannot be written into `folder`, or an export lies there: which run it will be is not
    known before the work is done."""
    require_export(folder)
    if (folder / telling.NAME).exists():
        raise InputError(f"The folder '{folder}' holds an export already: name another one.")


def not_handed_on(report: Report) -> str | None:
    """Why there is nothing to export; None where there is."""
    if report.chosen is None:
        return f"Nothing is exported: nothing that was tried meets {report.target}."
    if verdict_on(report.chosen, parse_target(report.target)) == Verdict.MISSED:
        return (
            f"Nothing is exported: what was chosen, the run {report.chosen.run_id}, misses {report.target} where it "
            "was verified."
        )
    return None


def hand_on(
    report: Report,
    folder: Path,
    *,
    store: RunStore | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Exported:
    """The chosen run of `report` as the file that was measured, in `folder`, with its card, its record and the report.

    Raises:
        InputError: another export lies there.
        RunFailed: nothing was chosen, the choice missed the target where it was verified, or the file does not score in
            a new process what was measured.
    """
    if reason := not_handed_on(report):
        raise RunFailed(reason)
    store = store or RunStore()
    record = store.get(report.chosen.run_id) if report.chosen else None
    if record is None:
        raise RunFailed("The record of the chosen run is not there any more: ask for the recipe again.")
    spec = record.spec
    done = export_run(
        record, spec, file_format(spec), folder, store=store, on_progress=on_progress, allowed_models=allowed_models
    )
    write_atomically(folder / NAME, report.to_json())
    return done
