"""Everything that the pages read, cached: the only place with `st.cache_*`. Keys hold the file's name, time and size,
so that a file that changed is read again, and one damaged file does not hide the others."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
from tdq_core.recipes.saved import read_recipe, recipe_paths

from cached_runs.costs import read_costs
from cached_runs.study import NETWORKS, dense_spec, is_study_run
from dashboard.facts.groups import group_runs
from dashboard.shelf.offers import Offers, read_arguments
from tdq_core.analysis.components import Components, read_study, study_paths
from tdq_core.errors import InputError
from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import find_layer_file
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.recipes.report import Report
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, read_record, shipped_folder
from tdq_core.specs import RankRule, RunSpec

ROUTER = Path(__file__).resolve().parent.parent / "app.py"


class Shelf(NamedTuple):
    """All runs that can be read, newest file last, and a sentence for each file that cannot."""

    records: tuple[RunRecord, ...]
    damaged: tuple[str, ...]

    def get(self, run_id: str | None) -> RunRecord | None:
        return next((r for r in self.records if r.run_id == run_id), None)


def shelf(store: RunStore | None = None) -> Shelf:
    """Every record of `store` (None: `runs/` and `cached_runs/`)."""
    records, damaged = [], []
    for path in (store or RunStore()).paths():
        try:
            records.append(_record(*_stamp(path)))
        except (InputError, OSError) as error:
            damaged.append(str(error))
    return Shelf(tuple(records), tuple(damaged))


class Studies(NamedTuple):
    """All studies of components that can be read, and a sentence for each file that cannot."""

    found: tuple[Components, ...]
    damaged: tuple[str, ...]


def studies() -> Studies:
    """Every study in `runs/` and `cached_runs/`."""
    found, damaged = [], []
    for path in study_paths():
        try:
            found.append(_study(*_stamp(path)))
        except (InputError, OSError) as error:
            damaged.append(str(error))
    return Studies(tuple(found), tuple(damaged))


class Recipes(NamedTuple):
    """All reports of recipes that can be read, and a sentence for each file that cannot."""

    found: tuple[Report, ...]
    damaged: tuple[str, ...]


def recipes() -> Recipes:
    """Every report in `runs/` and `cached_runs/`."""
    found, damaged = [], []
    for path in recipe_paths():
        try:
            found.append(_recipe(*_stamp(path)))
        except (InputError, OSError) as error:
            damaged.append(str(error))
    return Recipes(tuple(found), tuple(damaged))


def study_runs(shelf: Shelf) -> dict[str, list[RunRecord]]:
    """By network of the study its complete runs on the images that the shipped ones were measured on: those that have
    most, where there are several kinds of weights."""
    found: dict[str, list[RunRecord]] = {model: [] for model in NETWORKS}
    wanted = {model: dense_spec(model) for model in NETWORKS}
    for group in group_runs(r for r in shelf.records if is_study_run(r.spec, wanted.get(r.spec.model))):
        if len(group.complete) > len(found[group.model]):
            found[group.model] = list(group.complete)
    return found


def cards() -> dict[str, dict[str, Any]]:
    """By network of the study the card of its weights, where it has been trained."""
    known = {model: MODELS[model].weights for model in NETWORKS}
    return {model: weights.card for model, weights in known.items() if weights and weights.card}


def weights_are_here(model: str) -> bool:
    """Whether the file with the registered weights of one of the study's networks lies beside its card."""
    weights = MODELS[model].weights
    return weights is not None and (WEIGHTS_FOLDER / weights.file).exists()


def network_costs() -> dict[str, tuple[int, int]]:
    """By network of the study (params, MACs)."""
    return read_costs(shipped_folder())


def layer_table(spec: RunSpec) -> LayerTable | None:
    """The layers of the spec's model, or None where nobody has read them yet."""
    path = find_layer_file(spec)
    return _table(*_stamp(path)) if path else None


def plan(spec: RunSpec, method: str, rule: RankRule | None) -> Plan:
    """`make_plan` over the layer table that the spec's model has; it must exist."""
    path = find_layer_file(spec)
    if path is None:
        raise InputError(f"The layers of '{spec.model}' have not been read yet: press 'Read the layers'.")
    return _plan(*_stamp(path), method, rule.to_dict() if rule else None)


def offers() -> Offers:
    """What can be chosen; the server's arguments are read once."""
    return _offers(server_arguments())


def server_arguments() -> tuple[str, ...]:
    """What follows `--` where the router was started, by `tdq dashboard` or by Streamlit itself."""
    return tuple(sys.argv[1:]) if Path(sys.argv[0]).resolve() == ROUTER else ()


def _stamp(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


@st.cache_resource(max_entries=5000, show_spinner=False)
def _record(path: str, changed: int, size: int) -> RunRecord:
    return read_record(Path(path))  # frozen, so that sharing the object is safe


@st.cache_resource(max_entries=50, show_spinner=False)
def _study(path: str, changed: int, size: int) -> Components:
    return read_study(Path(path))


@st.cache_resource(max_entries=50, show_spinner=False)
def _recipe(path: str, changed: int, size: int) -> Report:
    return read_recipe(Path(path))


@st.cache_resource(max_entries=50, show_spinner=False)
def _table(path: str, changed: int, size: int) -> LayerTable:
    try:
        return LayerTable.read(Path(path))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The layer table '{path}' cannot be read ({error}): move it away to read it anew.") from error


@st.cache_data(max_entries=200, show_spinner=False)
def _plan(path: str, changed: int, size: int, method: str, rule: dict[str, object] | None) -> Plan:
    return make_plan(_table(path, changed, size), method, RankRule(**rule) if rule else None)  # type: ignore[arg-type]


@st.cache_resource(max_entries=4, show_spinner=False)
def _offers(arguments: Sequence[str]) -> Offers:
    return read_arguments(arguments)
