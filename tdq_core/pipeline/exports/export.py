"""A measured run as a file for use elsewhere: written, run in a new process, scored there, and told of."""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tdq_core.compression.quantize import Artefact
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.data.images import Images
from tdq_core.errors import InputError, RunFailed
from tdq_core.models.weights_file import load_weights
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.pipeline.export import export_again, require_export
from tdq_core.pipeline.exports import told as telling
from tdq_core.pipeline.exports import without_vnni
from tdq_core.pipeline.exports.card import write_card
from tdq_core.pipeline.exports.check import SAME_LOGITS, answers, answers_of, apart
from tdq_core.pipeline.exports.told import Seen, Told, noise
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.run import run_opened
from tdq_core.pipeline.session import Session
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.specs.command import command_line
from tdq_core.specs.formats import FORMATS, in_format
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.files import file_sha256, write_atomically
from tdq_core.system.progress import Progress, silent


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        record: of the run whose file it is: the one that was asked for, or its like on the backend of the format.
    """

    folder: Path
    told: Told
    record: RunRecord | None = None


@dataclass(frozen=True)
class Made:
    """A file that was written, and what is known of it."""

    artefact: Artefact
    name: str
    precision: str
    prepared: Preprocessing
    params: int
    macs: int
    settings: str
    model: str | nn.Module | None = None
    """What builds the network again, where the format asks for that; a module stands for code without a name."""


def export_run(
    record: RunRecord,
    spec: RunSpec,
    format: str,
    folder: Path,
    *,
    opset: int | None = None,
    store: RunStore | None = None,
    session: Session | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Exported:
    """The run of `record` as a file of `format` in `folder`, with its ranks, its record and a card.

    Where the run was measured on another backend than the format's, its like on that backend is measured too or found:
    every file is what a record says.

    Args:
        spec: of the record, its places as they are here.

    Raises:
        InputError: the run is not complete, the format cannot hold its numbers, or model or images are not those that
            were measured.
        RunFailed: the file does not score in a new process what its record says.
    """
    if record.state != "complete":
        raise InputError(f"The run {record.run_id} is {record.state}: only complete runs can be exported.")
    wanted = in_format(spec, format, opset=opset)
    require_export(folder)
    session = session or Session()
    inputs = session.open(wanted, as_built=record, on_progress=on_progress, allowed_models=allowed_models)
    _require_the_same(record, inputs)
    require_free(folder, inputs.run_id, format)
    program, suffix = format == "pt2", f".{format}"
    outcome = run_opened(
        inputs, store=store, session=session, on_progress=on_progress, export=None if program else folder
    )
    if outcome.record.state != "complete":
        raise RunFailed(f"The run on {wanted.precision.backend} is {outcome.record.state}: {outcome.record.reason}")
    if outcome.not_kept:
        raise RunFailed(outcome.not_kept[0])
    artefact = outcome.artefact
    if program:
        artefact = export_again(folder, outcome.record, inputs, session, on_progress=on_progress, program=True)
    assert artefact and artefact.path.suffix == suffix, "as the table of formats says"
    return Exported(folder, settle(folder, artefact, inputs, outcome.record, on_progress=on_progress), outcome.record)


def require_free(folder: Path, run_id: str | None, format: str) -> None:
    """InputError where `folder` holds the export of another run or of another format: ranks and record beside it would
    be those of neither. The same one may be written again."""
    if not (folder / telling.NAME).is_file():
        return
    try:
        there = Told.read(folder)
    except InputError:  # a damaged one is written anew
        return
    if (there.run_id, there.format) != (run_id, format):
        of = f"run {there.run_id}" if there.run_id else f"'{there.model}'"
        raise InputError(f"The folder '{folder}' holds the export of {of} as {there.format}: name another one.")


def settle(
    folder: Path,
    artefact: Artefact,
    inputs: RunInputs,
    record: RunRecord,
    *,
    named: bool = True,
    on_progress: Progress = silent,
) -> Told:
    """Check the file of a complete run in a new process, and write `export.json` and the card beside it.

    Args:
        named: a name builds the network; otherwise it was given in Python.
    """
    spec, metrics = inputs.spec, record.metrics
    assert metrics, "of complete runs only"
    made = Made(artefact, inputs.model.name, spec.precision.name, inputs.model.preprocessing, metrics.params,
                metrics.macs, command_line(spec), spec.model.name if named else inputs.model.module)  # fmt: skip
    source = Source(inputs.images, spec.images.data, spec.images.samples, spec.seed)
    return finish(folder, made, source, metrics.correct(), record=record, on_progress=on_progress)


@dataclass(frozen=True)
class Source:
    """Labelled images, and their name where they have one."""

    images: Images
    name: str | None
    samples: int | None = None
    seed: int = 0


@contained("Running the exported file")
def finish(
    folder: Path,
    made: Made,
    source: Source | None,
    expected: np.ndarray | None = None,
    *,
    record: RunRecord | None = None,
    on_progress: Progress = silent,
) -> Told:
    """Run the file in a new process, and tell of it where it is what was measured.

    Args:
        expected: right or wrong for each image, as was measured; None: it is measured here.

    Raises:
        RunFailed: it cannot be run there, or answers otherwise.
    """
    path = made.artefact.path
    format = path.suffix.removeprefix(".")
    for stale in (telling.NAME, without_vnni.NAME, "README.md"):
        (folder / stale).unlink(missing_ok=True)
    images = source.images if source else None
    if FORMATS[format].rebuilt and isinstance(made.model, nn.Module):
        found = answers_of(rebuilt(made.model, folder), made.prepared, images, on_progress=on_progress)
    else:
        model = made.model if isinstance(made.model, str) else None
        found = answers(path, format, made.prepared, images, precision=made.precision, model=model,
                        on_progress=on_progress)  # fmt: skip
    _require_logits(path, found.logits, made.artefact.predict(torch.from_numpy(noise(made.prepared))).numpy())
    if source:
        expected = outcomes(made.artefact.predict, source.images, made.prepared) if expected is None else expected
        _require_outcomes(path, found.correct, expected, found.changed(expected), record)
    told = Told(
        format=format, file=path.name, sha256=file_sha256(path), bytes=path.stat().st_size, model=made.name,
        precision=made.precision, preprocessing=made.prepared,
        logits=tuple(tuple(map(float, row)) for row in found.logits), spread=float(np.ptp(found.logits, axis=1).max()),
        images=Seen.of(found.correct, source=source.name, digest=source.images.digest, samples=source.samples,
                       seed=source.seed) if source else None,
        run_id=record.run_id if record else None, lowest_runtime=_lowest(format, made.artefact), params=made.params,
        macs=made.macs, settings=made.settings, made_with=machine.describe(),
    )  # fmt: skip
    write_card(folder, told, record, notes=made.artefact.notes)
    write_atomically(folder / telling.NAME, told.to_json())
    return told


def rebuilt(module: nn.Module, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The export's network, built in this process of a module whose code has no name that another could load."""
    again = copy.deepcopy(module)
    load_weights(again, str(folder), opened=lambda opened: opened)
    predict = module_predict(again)
    return lambda images: predict(torch.from_numpy(images)).numpy()


def _require_logits(path: Path, found: np.ndarray, here: np.ndarray) -> None:
    """RunFailed where the logits (2, classes) of a new process are none, or not those of this one."""
    if not np.isfinite(found).all():
        raise RunFailed(f"The file '{path}' gives logits that are not finite on noise: a value inside overflows.")
    if (off := apart(found, here)) <= SAME_LOGITS:
        return
    if not np.ptp(here, axis=1).any():
        raise RunFailed(
            f"The network gives every class the same logit on noise, and the file '{path}' does not: values inside are "
            "too small for its numbers and vanish; export it at fp32."
        )
    raise RunFailed(
        f"The file '{path}' gives other logits in a new process than it gave here, by up to {off:.2g} of their "
        "spread: it is not to be used."
    )


def _lowest(format: str, artefact: Artefact) -> str | None:
    if format == "onnx":
        return f"onnxruntime {artefact.details['lowest_onnxruntime']}"
    if format == "pt2":
        return f"torch {machine.versions()['torch'].partition('+')[0]}"
    return f"tdq {machine.versions()['tdq']}"


def _require_outcomes(
    path: Path, found: np.ndarray, expected: np.ndarray, changed: int, record: RunRecord | None
) -> None:
    if not changed:
        return
    what = f"the record {record.run_id}" if record else "what was measured"
    text = (
        f"The file '{path}' scores {100 * found.mean():.2f} % in a new process, and {what} says "
        f"{100 * expected.mean():.2f} %: {changed} of {len(found)} images are answered otherwise"
    )
    where = str(record.provenance.get("cpu", "")) if record else ""
    if where and where != machine.cpu_name():
        raise RunFailed(
            f"{text}. It was measured on another CPU ({where}), whose kernels round otherwise: measure the run on this "
            "machine, with TDQ_RUNS set to a new folder, and export it from there."
        )
    raise RunFailed(f"{text}: it is not to be used.")


def _require_the_same(record: RunRecord, inputs: RunInputs) -> None:
    """InputError where what is opened here is not what was measured."""
    names = {"model": "network", "data": "images", "calib": "calibration images"}
    for role, name in names.items():
        if role in record.digests and inputs.digests.get(role, record.digests[role]) != record.digests[role]:
            raise InputError(
                f"The {name} that are opened here are not those of the run {record.run_id}: their contents "
                "differ; name the same ones, or measure the run on these."
            )
