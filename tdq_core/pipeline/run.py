"""One run from beginning to end: model and images in, a record out.

open -> (have it already?) -> baseline -> plan -> decompose -> quantize -> evaluate -> record
"""

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch

from tdq_core.compression.quantize import Artefact
from tdq_core.errors import NotNow, Refused, RunFailed, TDQError
from tdq_core.layers.table import LayerTable
from tdq_core.pipeline.answers import dense_answers, evaluated
from tdq_core.pipeline.build import Built, Clock, Work, build, plan_of
from tdq_core.pipeline.evaluate import latency
from tdq_core.pipeline.export import export_again, export_folder, require_export
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.inputs import read_table as read_weights_table
from tdq_core.pipeline.session import Session
from tdq_core.ranks.plan import Plan
from tdq_core.records.record import LayerRecord, Metrics, RunRecord, State
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.extras import require_extra
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import free_threads


@dataclass(frozen=True)
class Outcome:
    """A record, and whether it was there already.

    Attributes:
        reused: nothing was measured: the same run had been recorded before.
        not_kept: a sentence for each file of it that could not be written.
        artefact: the file in the folder of the export; None: none was asked for, or the run is not complete.
    """

    record: RunRecord
    reused: bool
    not_kept: tuple[str, ...] = ()
    artefact: Artefact | None = None


def run(
    spec: RunSpec,
    *,
    store: RunStore | None = None,
    session: Session | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
    export: Path | None = None,
    again: bool = False,
) -> Outcome:
    """Carry out `spec`, or return its record at once if it is there already.

    A run that is refused or fails is recorded with its reason and returned too; its `state` says so. A failed run is
    tried again when it is asked for again. What the machine cannot do at this moment is not recorded.

    Args:
        store: where records are looked for and written; None: `runs/` and `cached_runs/`.
        session: what earlier runs have opened and found, and this one may use; None: nothing.
        allowed_models: models that are not registered but may be loaded; None: any (command line and Python).
        export: also write the artefact, the ranks and the record into this folder.
        again: measure it though it was measured before; its new record takes the place of the one in `runs/`.

    Raises:
        InputError: the spec names something that does not exist or cannot be read, or asks for what an extra of the
            package brings and that is not installed; or a folder cannot be written to; nothing is recorded.
        NotNow: the machine has too little memory free; nothing is recorded.
    """
    if export:
        require_export(export)
    session = session or Session()
    inputs = session.open(spec, on_progress=on_progress, allowed_models=allowed_models)
    return run_opened(inputs, store=store, session=session, on_progress=on_progress, export=export, again=again)


@contained()
def run_opened(
    inputs: RunInputs,
    *,
    store: RunStore | None = None,
    session: Session | None = None,
    on_progress: Progress = silent,
    export: Path | None = None,
    again: bool = False,
) -> Outcome:
    """`run` on what is open already."""
    store, session = store or RunStore(), session or Session()
    if export:
        require_export(export)
    known = store.usable(inputs.run_id)
    if again or _to_be_measured(known):
        _require_packages(inputs.spec)
        store.require_writable()
        with _alone(store, inputs.run_id, on_progress):
            known = store.usable(inputs.run_id)  # whoever was waited for has measured it
            if again or known is None or _to_be_measured(known):
                done = _carry_out(inputs, store, session, on_progress=on_progress, export=export)
                return replace(done, not_kept=(*_not_kept(store.put, done.record), *done.not_kept))
    assert known, "it need not be measured"
    if export and known.state == "complete":
        _require_packages(inputs.spec)
        artefact = export_again(export, known, inputs, session, on_progress=on_progress)
        return Outcome(known, reused=True, artefact=artefact)
    return Outcome(known, reused=True)


def _to_be_measured(known: RunRecord | None) -> bool:
    return known is None or known.state == "failed" or _lacked_memory(known)


def _alone(store: RunStore, run_id: str, on_progress: Progress) -> contextlib.AbstractContextManager[None]:
    """The same run asked for twice at once is measured once: the second waits, and then finds the record."""
    return store.alone(run_id, on_wait=lambda: on_progress("waiting: the same run is at work", 0, 0))


def _not_kept(keep: Callable[[RunRecord], object], record: RunRecord) -> tuple[str, ...]:
    """What was measured is not lost with the place to keep it: the sentence of what could not be written, if any."""
    try:
        keep(record)
    except NotNow as error:
        return (str(error),)
    return ()


def _require_packages(spec: RunSpec) -> None:
    if (spec.precision.name, spec.precision.backend) == ("int8", "torch"):
        require_extra("pt2e")


def _lacked_memory(record: RunRecord) -> bool:
    """Whether an older TDQ took too little memory for a refusal: that was no answer."""
    return record.state == "refused" and "GB are free" in (record.reason or "")


@contained()
def read_table(
    spec: RunSpec, *, on_progress: Progress = silent, allowed_models: Collection[str] | None = None
) -> LayerTable:
    """The layer table that a plan of `spec` is made from: with the weights' spectra; or, where it is calibrated, with
    those of the outputs on its calibration images."""
    if not spec.calibrated:
        return read_weights_table(spec.model, seed=spec.seed, on_progress=on_progress, allowed_models=allowed_models)
    inputs = Session().open(spec, on_progress=on_progress, allowed_models=allowed_models)
    return inputs.table(spectra=True, on_progress=on_progress)


def _carry_out(
    inputs: RunInputs, store: RunStore, session: Session, *, on_progress: Progress, export: Path | None = None
) -> Outcome:
    """Do the work; what goes wrong becomes a record with its reason."""
    clock = Clock()
    layers: tuple[LayerRecord, ...] = ()
    try:
        plan = plan_of(inputs, clock, on_progress)
        dense = _baseline(inputs, store, session, on_progress)
        predicted = _predicted(inputs, plan, store, session)
        with _folder(export) as folder:
            with free_threads():
                built = build(Work(inputs, plan, session, clock, on_progress), folder)
            layers = built.layers
            record = _measured(inputs, built, dense, clock, session, on_progress, predicted)
            if export is None:
                return Outcome(record, reused=False)
            not_kept = _not_kept(lambda record: export_folder(folder, record, built.artefact), record)
            return Outcome(record, reused=False, not_kept=not_kept, artefact=None if not_kept else built.artefact)
    except Refused as error:
        return Outcome(_unfinished(inputs, "refused", str(error), layers, clock), reused=False)
    except TDQError as error:
        if not isinstance(error, RunFailed):
            raise
        return Outcome(_unfinished(inputs, "failed", str(error), layers, clock), reused=False)
    except Exception as error:  # a bug or the machine's limits: kept with its traceback, so that it can be mended
        text = str(error).split("\n")[0][:300] or "no message"
        reason = f"The run stopped with {type(error).__name__}: {text}"
        record = _unfinished(inputs, "failed", reason, layers, clock)
        provenance = {**record.provenance, "traceback": traceback.format_exc()}
        return Outcome(msgspec.structs.replace(record, provenance=provenance), reused=False)


def _baseline(inputs: RunInputs, store: RunStore, session: Session, on_progress: Progress) -> Metrics | None:
    """Metrics of the untouched fp32 model on the same images, measured now or before; None for that run itself."""
    dense = inputs.dense()
    if dense.run_id == inputs.run_id:
        return None
    record = store.usable(dense.run_id)
    if record is None or record.state != "complete":
        with _alone(store, dense.run_id, on_progress):
            record = store.usable(dense.run_id)
            if record is None or record.state != "complete":
                record = _carry_out(dense, store, session, on_progress=on_progress).record
                _not_kept(store.put, record)  # the run itself, which is written last, tells of it
    if record.metrics is None:
        raise RunFailed(f"The dense model could not be measured: {record.reason}")
    return record.metrics


@contextlib.contextmanager
def _folder(export: Path | None) -> Iterator[Path]:
    if export:
        yield export
    else:
        with temporary_folder() as folder:
            yield folder


def _predicted(inputs: RunInputs, plan: Plan, store: RunStore, session: Session) -> dict[str, Any]:
    """What is predicted of the run before it is measured, for its record; nothing where nothing is known."""
    predictor = session.predictor(inputs, store)
    if predictor is None or inputs.spec == inputs.spec.dense():
        return {}
    found = predictor.predict(inputs.spec, plan.layers, images=len(inputs.images))
    told = {"sensitivities": predictor.sensitivities.sensitivity_id, **msgspec.to_builtins(found)}
    return {"predicted": {name: value for name, value in told.items() if value is not None}}


def _measured(
    inputs: RunInputs, built: Built, dense: Metrics | None, clock: Clock, session: Session, on_progress: Progress,
    predicted: dict[str, Any],
) -> RunRecord:  # fmt: skip
    predict, answers, before = built.artefact.predict, session.answers, None
    if dense:
        with clock.stage("answers of the dense network"):
            before = dense_answers(inputs, answers, on_progress)
    with clock.stage("evaluate"):
        correct, moved = evaluated(inputs, predict, answers, before, on_progress)
    times = None
    if inputs.spec.latency:
        with clock.stage("latency"):
            times = latency(predict, inputs.example())
    metrics = Metrics.measured(
        correct,
        params=built.params,
        macs=built.macs,
        bytes=built.artefact.bytes,
        dense_params=dense.params if dense else built.params,
        latency=times,
        moved=moved,
    )
    notes = (*inputs.notes, *built.warnings, *(n for n in built.artefact.notes if n not in inputs.notes))
    made = {"artefact": dict(built.artefact.details), **predicted}
    if built.tuning:
        made["finetune"] = msgspec.to_builtins(built.tuning)
    return RunRecord(
        run_id=inputs.run_id, state="complete", spec=inputs.spec, metrics=metrics, baseline=dense or metrics,
        layers=built.layers, notes=notes, digests=inputs.digests, provenance=_provenance(inputs, clock) | made,
    )  # fmt: skip


def _unfinished(
    inputs: RunInputs, state: State, reason: str, layers: tuple[LayerRecord, ...], clock: Clock
) -> RunRecord:
    return RunRecord(
        run_id=inputs.run_id, state=state, spec=inputs.spec, metrics=None, baseline=None, layers=layers,
        notes=inputs.notes, digests=inputs.digests, provenance=_provenance(inputs, clock), reason=reason,
    )  # fmt: skip


def _provenance(inputs: RunInputs, clock: Clock) -> dict[str, Any]:
    model, calib = inputs.model, inputs.calib
    return machine.describe() | {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": dict(clock.seconds),
        "peak_memory_bytes": machine.peak_memory(),
        "threads": torch.get_num_threads(),
        "seed": inputs.spec.seed,
        "weights": model.weights_source,
        "weights_sha256": model.weights_sha256,
        "licence": model.licence,
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "split": inputs.images.split,
        "n": len(inputs.images),
        "calib_split": calib.split if calib else None,
        "calib_n": len(calib) if calib else None,
    }
