"""A measured run on the clock: against the dense model at its precision and at fp32, and layer by layer."""

import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor

from tdq_core.errors import InputError
from tdq_core.pipeline.run_files import RunFiles
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.clock import ratio
from tdq_core.pipeline.speed.profile import Profiled, Spent, profile
from tdq_core.pipeline.speed.races import Runner, Settings, races
from tdq_core.pipeline.speed.record import SPEEDS, LayerTime, Profile, Race, Speed
from tdq_core.records.record import LayerRecord, RunRecord
from tdq_core.records.store import Store, runs_folder
from tdq_core.specs import RunSpec
from tdq_core.specs.precision import BACKENDS, ONNXRUNTIME, TORCH
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import Progress, silent

PASSES = 20
DENSE, FP32 = "dense", "dense fp32"
"""Rivals: the dense model at the run's precision, and at fp32."""


@contained()
def bench(
    record: RunRecord,
    spec: RunSpec,
    settings: Settings,
    *,
    backends: Collection[str] = tuple(BACKENDS),
    session: Session | None = None,
    allowed_models: Collection[str] | None = None,
    on_progress: Progress = silent,
) -> Speed:
    """Time the run of `record`; nothing is written.

    ONNX Runtime runs the run's own precision; PyTorch fp32, for at fp16 and int8 it computes on rounded float32.

    Args:
        spec: of the record, its places as they are here.

    Raises:
        InputError: the run is not complete; a batch or threads that cannot be.
    """
    if record.state != "complete":
        raise InputError(f"The run {record.run_id} is {record.state}: only complete runs can be timed.")
    load, notes, found, told = os.getloadavg()[0], [], [], None
    if spec.treatment.finetune:
        notes.append("Its factors were not fine-tuned again to be timed: operators and shapes are those of the run.")
    with temporary_folder() as folder:
        of = RunFiles(spec, session or Session(), folder, allowed_models, on_progress, record)
        numbers = spec.precision.numbers
        if ONNXRUNTIME.name in backends and numbers.kind in ONNXRUNTIME.kinds:
            raced, told = _with_onnx(record, of, settings, on_progress)
            found += raced
        elif ONNXRUNTIME.name in backends:
            notes.append(f"{numbers.label} is computed on float32: it is not timed.")
        if TORCH.name in backends:
            found += _with_torch(of, settings, on_progress)
            if numbers.name != "fp32":
                notes.append(f"PyTorch is timed at fp32: it has no kernels of its own for {numbers.label} here.")
    return Speed(
        run_id=record.run_id, races=tuple(found), profile=told, load=load, machine=machine.describe(),
        time=datetime.now(UTC).isoformat(timespec="seconds"), notes=tuple(notes),
    )  # fmt: skip


@contained()
def against_dense(
    record: RunRecord,
    settings: Settings,
    *,
    session: Session | None = None,
    allowed_models: Collection[str] | None = None,
    on_progress: Progress = silent,
) -> list[Race]:
    """The run of `record` against the dense model at its precision and at fp32, in ONNX Runtime; nothing is written."""
    with temporary_folder() as folder:
        of = RunFiles(record.spec, session or Session(), folder, allowed_models, on_progress, record)
        return _on_onnx(of, settings, on_progress)[0]


def keep(speed: Speed) -> Path:
    """Write it beside the runs."""
    return Store(SPEEDS, runs_folder()).put(speed)


def _with_onnx(
    record: RunRecord, of: RunFiles, settings: Settings, on_progress: Progress
) -> tuple[list[Race], Profile | None]:
    raced, own, dense = _on_onnx(of, settings, on_progress)
    images = of.example()[: settings.batches[0]]
    return raced, _profiled(record, own, dense, images, of.spec.precision.name)


def _on_onnx(of: RunFiles, settings: Settings, on_progress: Progress) -> tuple[list[Race], Path, Path]:
    """The races, the run's file and that of the dense model."""
    precision, backend = of.spec.precision.name, ONNXRUNTIME.name
    own, dense = of.run(precision, backend).path, of.dense(precision, backend).path
    rivals = {} if of.spec.decomposition is None else {DENSE: Runner(backend, precision, dense)}
    if precision != "fp32":
        rivals[FP32] = Runner(backend, "fp32", of.dense("fp32", backend).path)
    raced = races(Runner(backend, precision, own), rivals, of.example(), settings, on_progress=on_progress)
    return raced, own, dense


def _with_torch(of: RunFiles, settings: Settings, on_progress: Progress) -> list[Race]:
    if of.spec.decomposition is None:
        own, rivals = of.dense("fp32", TORCH.name), {}
    else:
        own = of.run("fp32", TORCH.name)
        rivals = {FP32: Runner(TORCH.name, "fp32", of.dense("fp32", TORCH.name).predict)}
    return races(Runner(TORCH.name, "fp32", own.predict), rivals, of.example(), settings, on_progress=on_progress)


def _profiled(record: RunRecord, own: Path, dense: Path, images: Tensor, precision: str) -> Profile:
    """Layer by layer, the run's file against the dense one."""
    names = [layer.name for layer in record.layers]
    held = _bytes_by_weight(own)
    parts = {la.name: _parts(la.name, held) if la.method != "none" else [la.name] for la in record.layers}
    own_file = Profiled(own, [part for each in parts.values() for part in each])
    spent, before = profile([own_file, Profiled(dense, names)], images, passes=PASSES)
    dense_held = _bytes_by_weight(dense)
    layers = tuple(_layer(la, parts[la.name], spent, before, held, dense_held) for la in record.layers)
    return Profile(precision=precision, batch=len(images), passes=PASSES, layers=layers, rest=_medians(spent.rest),
                   dense_rest=_medians(before.rest))  # fmt: skip


def _parts(layer: str, held: dict[str, int]) -> list[str]:
    """The sub-layers that took the place of `layer`, as the file names their weights."""
    below = [name.removeprefix(f"{layer}.") for name in held if name.startswith(f"{layer}.")]
    stages = dict.fromkeys(name.partition(".weight")[0] for name in below if ".weight" in name)
    return [f"{layer}.{stage}" for stage in stages]


def _bytes_by_weight(path: Path) -> dict[str, int]:
    return {t.name: numpy_helper.to_array(t).nbytes for t in onnx.load(path).graph.initializer}


def _layer(
    la: LayerRecord, parts: list[str], spent: Spent, before: Spent, held: dict[str, int], dense_held: dict[str, int]
) -> LayerTime:
    by_part = {part: spent.layers[part] for part in parts if part in spent.layers}
    now = np.sum(list(by_part.values()), axis=0) if len(by_part) == len(parts) else None
    then = before.layers.get(la.name)
    return LayerTime(
        name=la.name, method=la.method, dense_ms=None if then is None else float(np.median(then)),
        ms=None if now is None else float(np.median(now)),
        ratio=None if now is None or then is None else ratio(now, then), dense_params=la.dense_params, params=la.params,
        dense_macs=la.dense_macs, macs=la.macs, dense_bytes=_bytes([la.name], dense_held), bytes=_bytes(parts, held),
        parts=_medians({part.removeprefix(f"{la.name}."): ms for part, ms in by_part.items()}),
    )  # fmt: skip


def _medians(times: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(np.median(ms)) for name, ms in times.items()}


def _bytes(names: list[str], held: dict[str, Any]) -> int:
    return sum(size for name, size in held.items() if name.startswith(tuple(f"{each}." for each in names)))
