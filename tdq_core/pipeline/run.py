"""One run from beginning to end: model and images in, a record out.

open -> (have it already?) -> baseline -> plan -> decompose -> quantize -> evaluate -> record
"""

import contextlib
import dataclasses
import resource
import tempfile
import traceback
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tdq_core.compression.calibrate.spectra import with_output_spectra
from tdq_core.errors import Refused, RunFailed, TDQError
from tdq_core.graph.layer_table import read_layers
from tdq_core.layers.table import LayerTable
from tdq_core.measure.evaluate import latency, outcomes
from tdq_core.models.loading import load_model
from tdq_core.pipeline.build import Built, Clock, build
from tdq_core.pipeline.export import export_folder
from tdq_core.pipeline.inputs import Opened, open_run
from tdq_core.ranks.plan import Plan, make_plan, needs_spectra
from tdq_core.records.record import LayerRecord, Metrics, RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.system import machine
from tdq_core.system.progress import Progress, silent


@dataclass(frozen=True)
class Outcome:
    """A record, and whether it was there already.

    Attributes:
        reused: nothing was measured: the same run had been recorded before.
    """

    record: RunRecord
    reused: bool


def run(
    spec: RunSpec,
    *,
    store: RunStore | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
    export: Path | None = None,
) -> Outcome:
    """Carry out `spec`, or return its record at once if it is there already.

    A run that is refused or fails is recorded with its reason and returned too; its `state` says so. A failed run is
    tried again when it is asked for again. What the machine cannot do at this moment is not recorded.

    Args:
        store: where records are looked for and written; None: `runs/` and `cached_runs/`.
        allowed_models: models that are not registered but may be loaded; None: any (command line and Python).
        export: also write the artefact, the ranks and the record into this folder.

    Raises:
        InputError: the spec names something that does not exist or cannot be read; nothing is recorded.
        NotNow: the machine has too little memory free; nothing is recorded.
    """
    store = store or RunStore()
    opened = open_run(spec, on_progress=on_progress, allowed_models=allowed_models)
    known = store.get(opened.run_id)
    if known is None or known.state == "failed" or _lacked_memory(known):
        record = _carry_out(opened, store, on_progress=on_progress, export=export)
        store.put(record)
        return Outcome(record, reused=False)
    if export and known.state == "complete":
        clock = Clock()
        export_folder(
            export, known, build(opened, _plan(opened, clock, on_progress), export, clock, on_progress).artefact
        )
    return Outcome(known, reused=True)


def _lacked_memory(record: RunRecord) -> bool:
    """Whether an older TDQ took too little memory for a refusal: that was no answer."""
    return record.state == "refused" and "GB are free" in (record.reason or "")


def read_table(
    spec: RunSpec, *, on_progress: Progress = silent, allowed_models: Collection[str] | None = None
) -> LayerTable:
    """The layer table of the spec's model: with the weights' spectra, and no images opened; or, where the spec is
    calibrated, with those of the outputs on its calibration images."""
    if spec.calibrated:
        opened = open_run(spec, on_progress=on_progress, allowed_models=allowed_models)
        return _table(opened, spectra=True, on_progress=on_progress)
    model = load_model(spec, on_progress=on_progress, allowed=allowed_models)
    example = torch.zeros(2, *model.preprocessing.input_shape)
    return read_layers(model.module, example, name=model.name, digest=model.digest, on_progress=on_progress)


def _table(opened: Opened, *, spectra: bool, on_progress: Progress) -> LayerTable:
    model, calib = opened.model, opened.calib if opened.spec.calibrated else None
    table = read_layers(model.module, opened.example()[:2], name=model.name, digest=model.digest,
                        spectra=spectra and calib is None, on_progress=on_progress)  # fmt: skip
    if spectra and calib is not None:
        return with_output_spectra(table, model.module, opened.calibration, len(calib), folder=opened.sums_folder,
                                   on_progress=on_progress)  # fmt: skip
    return table


def _carry_out(opened: Opened, store: RunStore, *, on_progress: Progress, export: Path | None = None) -> RunRecord:
    """Do the work; what goes wrong becomes a record with its reason."""
    clock = Clock()
    layers: tuple[LayerRecord, ...] = ()
    try:
        plan = _plan(opened, clock, on_progress)
        dense = _baseline(opened, store, on_progress)
        with _folder(export) as folder:
            built = build(opened, plan, folder, clock, on_progress)
            layers = built.layers
            record = _measured(opened, built, dense, clock, on_progress)
            if export:
                export_folder(export, record, built.artefact)
            return record
    except Refused as error:
        return _unfinished(opened, "refused", str(error), layers, clock)
    except TDQError as error:
        if not isinstance(error, RunFailed):
            raise
        return _unfinished(opened, "failed", str(error), layers, clock)
    except Exception as error:  # a bug or the machine's limits: kept with its traceback, so that it can be mended
        text = str(error).split("\n")[0][:300] or "no message"
        reason = f"The run stopped with {type(error).__name__}: {text}"
        record = _unfinished(opened, "failed", reason, layers, clock)
        return dataclasses.replace(record, provenance={**record.provenance, "traceback": traceback.format_exc()})


def _baseline(opened: Opened, store: RunStore, on_progress: Progress) -> Metrics | None:
    """Metrics of the untouched fp32 model on the same images, measured now or before; None for that run itself."""
    spec = opened.spec.dense()
    digests = {k: v for k, v in opened.digests.items() if k != "calib"}
    if spec.run_id(digests) == opened.run_id:
        return None
    dense = Opened(spec, opened.model, opened.images, None, digests, opened.model.notes + opened.images.notes)
    record = store.get(dense.run_id)
    if record is None or record.state != "complete":
        record = _carry_out(dense, store, on_progress=on_progress)
        store.put(record)
    if record.metrics is None:
        raise RunFailed(f"The dense model could not be measured: {record.reason}")
    return record.metrics


@contextlib.contextmanager
def _folder(export: Path | None) -> Iterator[Path]:
    if export:
        yield export
    else:
        with tempfile.TemporaryDirectory(prefix="tdq-") as folder:
            yield Path(folder)


def _plan(opened: Opened, clock: Clock, on_progress: Progress) -> Plan:
    """Ranks for every layer, before anything is built: what is out of reach is refused at once."""
    rule = opened.spec.rule
    with clock.stage("read layers"):
        table = _table(opened, spectra=needs_spectra(rule), on_progress=on_progress)
        return make_plan(table, opened.spec.method, rule)


def _measured(opened: Opened, built: Built, dense: Metrics | None, clock: Clock, on_progress: Progress) -> RunRecord:
    predict = built.artefact.predict
    with clock.stage("evaluate"):
        correct = outcomes(predict, opened.images, opened.model.preprocessing, on_progress=on_progress)
    metrics = Metrics.measured(
        correct,
        params=built.params,
        macs=built.macs,
        bytes=built.artefact.bytes,
        dense_params=dense.params if dense else built.params,
        latency=_latency(opened, built, clock) if opened.spec.latency else None,
    )
    notes = (*opened.notes, *built.warnings, *(n for n in built.artefact.notes if n not in opened.notes))
    return RunRecord(
        opened.run_id,
        "complete",
        opened.spec,
        metrics,
        dense or metrics,
        built.layers,
        notes,
        opened.digests,
        _provenance(opened, clock) | {"artefact": dict(built.artefact.details)} | _tuning(built),
    )


def _tuning(built: Built) -> dict[str, Any]:
    return {"finetune": dict(built.tuning)} if built.tuning else {}


def _latency(opened: Opened, built: Built, clock: Clock) -> dict[str, Any]:
    with clock.stage("latency"):
        return latency(built.artefact.predict, opened.example())


def _unfinished(opened: Opened, state: str, reason: str, layers: tuple[LayerRecord, ...], clock: Clock) -> RunRecord:
    return RunRecord(
        opened.run_id,
        state,
        opened.spec,
        None,
        None,
        layers,
        opened.notes,
        opened.digests,
        _provenance(opened, clock),
        reason,
    )


def _provenance(opened: Opened, clock: Clock) -> dict[str, Any]:
    model, calib = opened.model, opened.calib
    return machine.describe() | {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": dict(clock.seconds),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "seed": opened.spec.seed,
        "weights": model.weights_source,
        "weights_sha256": model.weights_sha256,
        "licence": model.licence,
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "split": opened.images.split,
        "n": len(opened.images),
        "calib_split": calib.split if calib else None,
        "calib_n": len(calib) if calib else None,
    }
