"""Everything that the pages read, cached: the only place with `st.cache_*`. Keys hold the file's name, time and size,
so that a file that changed is read again, and one damaged file does not hide the others."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import streamlit as st

from cached_runs.costs import read_costs
from cached_runs.study import NETWORKS, dense_spec, is_study_run
from dashboard.facts.additions import Addition, additions_of
from dashboard.facts.budget import Answer, Budget
from dashboard.facts.budget import answer as best_for
from dashboard.facts.budget import smallest as smallest_of
from dashboard.facts.failing import Failure
from dashboard.facts.failing import failures as failures_of
from dashboard.facts.foreseen import Curve, files_like, front, measured
from dashboard.facts.groups import group_runs
from dashboard.facts.subject import Subject
from dashboard.shelf.offers import Offers, read_arguments
from tdq_core.analysis.additivity import Cells, find_cells
from tdq_core.errors import InputError, TDQError
from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import find_layer_file, layer_file_name, read_layer_file
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER
from tdq_core.prediction.allocation import shares_by_changes
from tdq_core.prediction.curve import Run
from tdq_core.prediction.layer_times import LAYER_TIMES, LayerTimes, require_times, timed, times_for
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import SENSITIVITIES, Sensitivities
from tdq_core.prediction.shelf import missing, predictor_for, sensitivities_for
from tdq_core.ranks.budget import FP32
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.records.listing import Memory
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Found, Kind, Storable, Store, shipped_folder
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec

ROUTER = Path(__file__).resolve().parent.parent / "app.py"
V = TypeVar("V", bound=Storable)
T = TypeVar("T")
Stamp = tuple[str, int, int]
"""A file's path, time and size."""


Runs = Found[RunRecord]


def read(kind: Kind[V], *folders: Path) -> Found[V]:
    """Every value of `kind` in `folders` (none given: `runs/` and `cached_runs/`)."""
    store = Store(kind, *folders)
    return store.found(_memory(kind.name, tuple(map(str, store.folders))))


def study_runs(runs: Runs) -> dict[str, list[RunRecord]]:
    """By network of the study its complete runs on the images that the shipped ones were measured on: those that have
    most, where there are several kinds of weights."""
    found: dict[str, list[RunRecord]] = {model: [] for model in NETWORKS}
    wanted = {model: dense_spec(model) for model in NETWORKS}
    for group in group_runs(r for r in runs.values if is_study_run(r.spec, wanted.get(r.spec.model.name))):
        model = group.about.model.name
        if len(group.complete) > len(found[model]):
            found[model] = list(group.complete)
    return found


def cards() -> dict[str, dict[str, Any]]:
    """By network of the study the card of its weights, where it has been trained."""
    known = {model: MODELS[model].usable_weights for model in NETWORKS}
    return {model: weights.card for model, weights in known.items() if weights and weights.card}


def weights_are_here(model: str) -> bool:
    """Whether the file with the registered weights of one of the study's networks lies beside its card."""
    weights = MODELS[model].usable_weights
    return weights is not None and (WEIGHTS_FOLDER / weights.file).exists()


def network_costs() -> dict[str, tuple[int, int]]:
    """By network of the study (params, MACs)."""
    return read_costs(shipped_folder())


def table_name(spec: RunSpec) -> str:
    """The name of the layer table of the spec's model, whether it has been read or not."""
    return layer_file_name(spec)


def layer_table(spec: RunSpec) -> LayerTable | None:
    """The layers of the spec's model, or None where nobody has read them yet."""
    path = find_layer_file(spec)
    return _table(*_stamp(path), spec.model.name) if path else None


def known_layers(spec: RunSpec) -> LayerTable | None:
    """The same for a chart that can do without: None where the table is damaged too, which the plan tells."""
    try:
        return layer_table(spec)
    except TDQError:
        return None


def plan(spec: RunSpec, method: str, rule: RankRule | None, precision: PrecisionSpec = FP32) -> Plan:
    """`make_plan` over the layer table that the spec's model has; it must exist."""
    path = find_layer_file(spec)
    if path is None:
        raise InputError(f"The layers of '{spec.model.name}' have not been read yet: press 'Read the layers'.")
    numbers = msgspec.structs.asdict(precision)
    return _plan(*_stamp(path), spec.model.name, method, rule.to_dict() if rule else {}, numbers)


def sensitivities(spec: RunSpec) -> Sensitivities | None:
    """Of the spec's network; None where they were never measured."""
    return sensitivities_for(spec, read(SENSITIVITIES).values)


def predictor(spec: RunSpec, runs: Runs) -> Predictor | None:
    """Of the spec's network, refitted on its runs; None where its sensitivities were never measured."""
    found = sensitivities(spec)
    if found is None:
        return None
    own = [record for record in runs.values if record.spec.model == spec.model]
    return _predictor(found.sensitivity_id, spec.images.data, _content(own), found, spec, own)


def plan_by_changes(spec: RunSpec) -> Plan:
    """A plan whose ranks follow from the sensitivities of the network.

    Raises:
        InputError: they were never measured, or not with what `spec` does.
    """
    found = predictor(spec, read(RUNS))
    if found is None:
        raise InputError(missing(spec))
    return make_plan(found.table(spec), spec.method, spec.rule, spec.precision)


def times(spec: RunSpec) -> LayerTimes | None:
    """How long the layers of the spec's network take here at its precision; None where they were not timed."""
    return times_for(spec, read(LAYER_TIMES).values)


def plan_by_time(spec: RunSpec, read_for: RunSpec) -> Plan:
    """A plan whose ratio is one of times, on the layer table of `read_for`.

    Raises:
        InputError: the layers were not timed, or read.
    """
    found = require_times(spec, read(LAYER_TIMES).values)
    known = predictor(spec, read(RUNS)) if shares_by_changes(spec) else None
    if known is None and shares_by_changes(spec):
        raise InputError(missing(spec))
    table = known.table(spec) if known else layer_table(read_for)
    if table is None:
        raise InputError(f"The layers of '{spec.model.name}' have not been read yet: press 'Read the layers'.")
    return make_plan(timed(table, found), spec.method, spec.rule, spec.precision)


def curve(spec: RunSpec, predictor: Predictor | None, own: Sequence[RunRecord], params: int) -> Curve:
    """What is predicted of the spec's pipeline at other ratios (nothing without a predictor), and what of it was
    measured among `own`, the complete runs of its network, which has so many params."""
    rule = spec.rule
    sharing = (rule.policy, rule.budget, rule.multiple, rule.keep_ends) if rule and rule.kind == "ratio" else ()
    pipeline = spec.to_dict() | {"rule": sharing}
    known = (predictor.sensitivities.sensitivity_id, len(predictor.runs)) if predictor else ()
    return _curve(repr(sorted(pipeline.items())), known, _content(own), spec, predictor, own, params)


def answer(subject: Subject, budget: Budget) -> Answer:
    """The best measured run of the subject for the budget."""
    return _answer(_content(subject.runs), budget, subject.runs)


def smallest(subject: Subject, budget: Budget) -> RunRecord | None:
    """Its best run alone, where size decides."""
    return _smallest(_content(subject.runs), budget, subject.runs)


def additions(subject: Subject) -> tuple[tuple[Cells, ...], tuple[Addition, ...]]:
    """Its groups of four runs, and whether their drops add up."""
    return _additions(_content(subject.runs), subject.runs)


def failures(subject: Subject) -> Sequence[Failure]:
    """What INT8 takes from CP, at every ratio where that was measured."""
    return _failures(_content(subject.runs), subject.runs)


def offers() -> Offers:
    """What can be chosen; the server's arguments are read once."""
    return _offers(server_arguments())


def server_arguments() -> tuple[str, ...]:
    """What follows `--` where the router was started, by `tdq dashboard` or by Streamlit itself."""
    return tuple(sys.argv[1:]) if Path(sys.argv[0]).resolve() == ROUTER else ()


def _content(records: Sequence[RunRecord]) -> int:
    """Which they are, and what each has measured, which `tdq run --again` changes; a number that is found at once
    however many there are."""
    return hash(tuple(record.remembered(_measured) for record in records))


def _measured(record: RunRecord) -> int:
    return hash((record.run_id, record.metrics, record.baseline))


def _stamp(path: Path) -> Stamp:
    stat = path.lstat()
    return str(path), stat.st_mtime_ns, stat.st_size


@st.cache_resource(max_entries=20, show_spinner=False)
def _memory(kind: str, folders: tuple[str, ...]) -> Memory[Any]:
    return Memory()


@st.cache_resource(max_entries=50, show_spinner=False)
def _table(path: str, changed: int, size: int, model: str) -> LayerTable:
    return read_layer_file(Path(path), model)


@st.cache_resource(max_entries=20, show_spinner=False)
def _predictor(
    name: str, data: str, records: int, _found: Sensitivities, _spec: RunSpec, _own: list[RunRecord]
) -> Predictor:
    return predictor_for(_spec, _found, _own, _runs_seen(name))


@st.cache_resource(max_entries=20, show_spinner=False)
def _runs_seen(sensitivities: str) -> dict[str, Run | None]:
    """By id what runs say under these sensitivities: a new run is added, the others are not asked again."""
    return {}


@st.cache_resource(max_entries=50, show_spinner=False)
def _answer(records: int, budget: Budget, _runs: Sequence[RunRecord]) -> Answer:
    return best_for(_runs, budget)


@st.cache_resource(max_entries=50, show_spinner=False)
def _smallest(records: int, budget: Budget, _runs: Sequence[RunRecord]) -> RunRecord | None:
    return smallest_of(_runs, budget)


@st.cache_resource(max_entries=20, show_spinner=False)
def _additions(records: int, _runs: Sequence[RunRecord]) -> tuple[tuple[Cells, ...], tuple[Addition, ...]]:
    cells = tuple(find_cells(_runs))
    return cells, additions_of(cells)


@st.cache_resource(max_entries=20, show_spinner=False)
def _failures(records: int, _runs: Sequence[RunRecord]) -> tuple[Failure, ...]:
    return tuple(failures_of(_runs))


@st.cache_resource(max_entries=50, show_spinner=False)
def _curve(
    pipeline: str, known: tuple[Any, ...], records: int, _spec: RunSpec, _predictor: Predictor | None,
    _own: Sequence[RunRecord], _params: int,
) -> Curve:  # fmt: skip
    files = files_like(_own, _spec, _params)
    return Curve(front(_predictor, _spec, files) if _predictor else [], measured(_own, _spec), files)


@st.cache_resource(max_entries=200, show_spinner=False)
def _plan(
    path: str, changed: int, size: int, model: str, method: str, rule: dict[str, Any], numbers: dict[str, Any]
) -> Plan:
    table, precision = _table(path, changed, size, model), PrecisionSpec(**numbers)
    return make_plan(table, method, RankRule(**rule) if rule else None, precision)


@st.cache_resource(max_entries=200, show_spinner=False)
def figure(parts: tuple[str, ...], _make: Callable[[], T]) -> T:
    """What `_make` draws, once for all who ask for what follows from the same `parts`; nobody may change it."""
    return _make()


@st.cache_resource(max_entries=4, show_spinner=False)
def _offers(arguments: Sequence[str]) -> Offers:
    return read_arguments(arguments)
