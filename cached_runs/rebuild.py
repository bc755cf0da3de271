"""Measure the shipped runs that are missing. What is recorded already is kept; delete a file to measure it again."""

from collections.abc import Sequence
from pathlib import Path

from cached_runs import digits, study
from tdq_core.analysis.components import STUDIES, study_spec
from tdq_core.cli.terminal import tell
from tdq_core.models.registry import WEIGHTS_FOLDER
from tdq_core.records.store import RunStore, Store
from tdq_core.records.table import method_text, ranks_text
from tdq_core.specs import DEFAULT_ETA, RankRule, RunSpec
from tdq_core.system.files import write_atomically
from tdq_core.system.progress import Progress

MODELS = (digits.MODEL, *study.NETWORKS)


def rebuild(model: str, folder: Path, on_progress: Progress) -> None:
    """Every shipped run of one model, its layer table and its study of components; of the digits also the recipe."""
    if model == digits.MODEL:
        _measure(list(digits.digits_specs()), RankRule("ratio", digits.STUDIED_RATIO), folder, on_progress)
        _recipe(folder, on_progress)
    elif (WEIGHTS_FOLDER / f"{model}.safetensors").exists():
        studied = study.COMPONENTS.get(model, RankRule("ratio", 2.0))
        _measure(list(study.study_specs(model)), studied, folder, on_progress)
    else:
        tell(f"{model}: no weights, nothing is measured; first `tdq train {model} --data {study.DATA}`.")


def _measure(specs: Sequence[RunSpec], studied: RankRule, folder: Path, on_progress: Progress) -> None:
    from tdq_core.analysis.component_study import study as study_components
    from tdq_core.pipeline.run import run
    from tdq_core.pipeline.session import Session

    store, session, dense = RunStore(folder), Session(), specs[0]
    _layers(dense, folder)
    for done, spec in enumerate(specs):
        on_progress(f"runs of {dense.model.name}", done, len(specs))
        record = run(spec, store=store, session=session).record
        if record.state != "complete":
            tell(f"{method_text(spec)} {ranks_text(spec)} {spec.precision.name}: {record.reason}")
    components = study_spec(dense, rule=studied, eta=DEFAULT_ETA)
    study_components(components, store=Store(STUDIES, folder), on_progress=on_progress)


def _layers(spec: RunSpec, folder: Path) -> None:
    from tdq_core.models.layer_files import table_path
    from tdq_core.pipeline.run import read_table

    if not (folder / table_path(spec)).exists():
        write_atomically(folder / table_path(spec), read_table(spec).to_json())


def _recipe(folder: Path, on_progress: Progress) -> None:
    from tdq_core.recipes.search import find_recipe
    from tdq_core.recipes.target import parse_target

    dense, target = RunSpec.of(digits.MODEL, digits.DATA), parse_target(digits.TARGET)
    find_recipe(dense, target, store=RunStore(folder), folder=folder, on_progress=on_progress)
