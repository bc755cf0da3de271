"""Measure the shipped runs that are missing. What is recorded already is kept; delete a file to measure it again."""

from pathlib import Path

from cached_runs import digits, study
from tdq_core.analysis.components import STUDIES, study_spec
from tdq_core.cli.terminal import tell
from tdq_core.models.registry import WEIGHTS_FOLDER
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, Store
from tdq_core.records.table import method_text, ranks_text
from tdq_core.specs import DEFAULT_ETA, RankRule, RunSpec
from tdq_core.sweeps.grid import Grid, grid_of
from tdq_core.sweeps.sweep import carry_out
from tdq_core.sweeps.watch import Watch
from tdq_core.system.files import write_atomically
from tdq_core.system.progress import Progress

MODELS = (digits.MODEL, *study.NETWORKS)


def rebuild(model: str, folder: Path, on_progress: Progress) -> None:
    """Every shipped run of one model, its layer table and its study of components; of the digits also the recipe."""
    if model != digits.MODEL and not (WEIGHTS_FOLDER / f"{model}.safetensors").exists():
        tell(f"{model}: no weights, nothing is measured; first `tdq train {model} --data {study.DATA}`.")
        return
    grid = grid_of(study.sweep_of_model(model))
    _layers(grid.specs[0], folder)
    _measure(grid, folder, on_progress)
    _components(grid.specs[0], folder, on_progress)
    if model == digits.MODEL:
        _recipe(folder, on_progress)


def _measure(grid: Grid, folder: Path, on_progress: Progress) -> None:
    done = 0

    def on_record(record: RunRecord, seconds: float, not_kept: str) -> None:
        nonlocal done
        done += 1
        on_progress(f"runs of {record.spec.model.name}", done, len(grid.specs))
        if record.state != "complete" or not_kept:
            spec = record.spec
            tell(f"{method_text(spec)} {ranks_text(spec)} {spec.precision.name}: {record.reason or not_kept}")

    swept = carry_out(grid, store=RunStore(folder), watch=Watch(on_record=on_record))
    tell(*swept.complaints)


def _layers(spec: RunSpec, folder: Path) -> None:
    from tdq_core.models.layer_files import table_path
    from tdq_core.pipeline.run import read_table

    if not (folder / table_path(spec)).exists():
        write_atomically(folder / table_path(spec), read_table(spec).to_json())


def _components(dense: RunSpec, folder: Path, on_progress: Progress) -> None:
    from tdq_core.analysis.component_study import study as study_components

    for rule in study.COMPONENTS.get(dense.model.name, (RankRule("ratio", 2.0),)):
        studied = study_spec(dense, rule=rule, eta=DEFAULT_ETA)
        study_components(studied, store=Store(STUDIES, folder), on_progress=on_progress)


def _recipe(folder: Path, on_progress: Progress) -> None:
    from tdq_core.recipes.search import find_recipe
    from tdq_core.recipes.target import parse_target

    dense, target = RunSpec.of(digits.MODEL, digits.DATA), parse_target(digits.TARGET)
    find_recipe(dense, target, store=RunStore(folder), folder=folder, on_progress=on_progress)
