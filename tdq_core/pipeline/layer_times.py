"""Times the layers of a network, dense and in every form at a grid of ranks, on this machine in ONNX Runtime.

Every sub-layer that a form at some ranks would have is one operation of a file, with weights of its own, so that the
processor meets it as cold as in a network; the runtime's own profiler says how long each took. Sub-layers of one shape
are timed once. The whole dense network is timed as it is written.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.errors import InputError
from tdq_core.layers.methods import METHODS, Method
from tdq_core.layers.table import Layer
from tdq_core.layers.times import FormTime
from tdq_core.pipeline.run_files import RunFiles
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.clock import in_turn
from tdq_core.pipeline.speed.operation_file import name_of, write
from tdq_core.pipeline.speed.profile import Profiled, profile
from tdq_core.pipeline.speed.races import Settings
from tdq_core.pipeline.speed.stages import Calls, Operation, calls_of
from tdq_core.prediction.layer_times import DENSE, LAYER_TIMES, Conditions, LayerTimes, times_id
from tdq_core.ranks.costs import max_ranks, refusal
from tdq_core.records.store import Store
from tdq_core.specs import RunSpec
from tdq_core.specs.precision import ONNXRUNTIME
from tdq_core.specs.precision_spec import require_countable
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import Progress, silent

GRID = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Ranks at which a layer is timed, up to its largest, and that."""
PASSES = 30
NUMBERS = 1.5e8
"""Of inputs, weights and outputs in one file, at most."""
PER_NODE = 1500.0
"""Nanoseconds that the runtime takes to go from one operator to the next, which its profiler does not see."""
SECONDS = 2.0
"""For which the dense network is called again and again."""


@dataclass(frozen=True)
class Measured:
    """Layer times, and whether they were there already."""

    times: LayerTimes
    reused: bool


@contained()
def measure(
    spec: RunSpec, *, batch: int = 1, threads: int = 1, again: bool = False, store: Store[LayerTimes] | None = None,
    on_progress: Progress = silent, allowed_models: Collection[str] | None = None,
) -> Measured:  # fmt: skip
    """Time the layers of the network of `spec` at its precision and keep the times, or return those that are kept.

    Args:
        spec: its decomposition is not read; calibration images as for its precision.
        batch: images a call; threads: of the runtime.
        again: whether they are timed though they are kept.

    Raises:
        InputError: a network or images that do not exist; a precision that ONNX Runtime does not compute with; a batch
            or threads that cannot be.
        NotKept: they are measured and could not be written; the error holds them.
    """
    require_countable("latency", spec.precision.name, ONNXRUNTIME.name)
    if threads < 1:
        raise InputError(f"The 'threads' must be named: at least 1. Got {threads}.")
    Settings((batch,), (threads,))
    dense = RunSpec(model=spec.model, images=spec.images, seed=spec.seed).changed(
        precision=spec.precision.name, backend=ONNXRUNTIME.name
    )
    session, store = Session(), store or Store(LAYER_TIMES)
    inputs = session.open(dense, on_progress=on_progress, allowed_models=allowed_models)
    conditions = Conditions.here(dense.precision.name, batch=batch, threads=threads)
    name = times_id(inputs.digests["model"], conditions)
    if not again and (known := store.usable(name)):
        return Measured(known, reused=True)
    store.require_writable()
    with temporary_folder() as folder:
        files = RunFiles(dense, session, folder, allowed_models, on_progress)
        whole = _whole_ns(files.dense(dense.precision.name, ONNXRUNTIME.name).path, files.example(), batch, threads)
        layers = [la for la in inputs.table(spectra=False).layers if la.refusal is None]
        example = files.example()[torch.arange(batch) % len(files.example())]
        calls = calls_of(inputs.model.module, layers, example)
        found = _Study(calls, dense, threads, folder, on_progress).forms()
    times = LayerTimes(
        times_id=name, spec=dense, digests={"model": inputs.digests["model"]}, conditions=conditions, dense_ns=whole,
        layers=found, provenance=machine.describe() | {"time": datetime.now(UTC).isoformat(timespec="seconds")},
    )  # fmt: skip
    return Measured(store.read(store.put(times)), reused=False)


def _whole_ns(path: Path, example: torch.Tensor, batch: int, threads: int) -> int:
    """The median of a call of the whole dense network."""
    images = example[torch.arange(batch) % len(example)].contiguous()
    predict = session_predict(path, threads)
    return round(1e6 * float(np.median(in_turn([lambda: predict(images)], seconds=SECONDS))))


class _Study:
    """One network at work."""

    def __init__(
        self, calls: Sequence[Calls], spec: RunSpec, threads: int, folder: Path, on_progress: Progress
    ) -> None:
        self._calls, self._threads, self._folder, self._on_progress = calls, threads, folder, on_progress
        self._integers = spec.precision.numbers.kind == "int8"

    def forms(self) -> dict[str, tuple[FormTime, ...]]:
        """By layer the time of every form at the ranks of its grid."""
        wanted = dict.fromkeys(each for calls in self._calls for form in _forms(calls.layer)
                               for ranks in _product(form) for each in _operations(calls, form[0], ranks))  # fmt: skip
        ns = self._timed(list(wanted))
        return {calls.layer.name: tuple(self._form(calls, form, ns) for form in _forms(calls.layer))
                for calls in self._calls}  # fmt: skip

    def _form(self, calls: Calls, form: "Form", ns: dict[Operation, float]) -> FormTime:
        taken = []
        for ranks in _product(form):
            operations = _operations(calls, form[0], ranks)
            taken.append(round(sum(ns[each] for each in operations) + PER_NODE * len(operations)))
        return FormTime(form[0], form[1], tuple(taken))

    def _timed(self, operations: list[Operation]) -> dict[Operation, float]:
        """Nanoseconds of each, many of them in one file."""
        found: dict[Operation, float] = {}
        for part in _parts(operations):
            self._on_progress("time the layers", len(found), len(operations))
            path = self._folder / "operations.onnx"
            write(part, path, integers=self._integers)
            names = [name_of(place) for place in range(len(part))]
            fed = torch.ones(1, dtype=torch.uint8 if self._integers else torch.float32)
            spent = profile([Profiled(path, names)], fed, passes=PASSES, threads=self._threads)[0].layers
            found |= {each: 1e6 * _middle(spent[name]) for each, name in zip(part, names, strict=True)}
        self._on_progress("time the layers", len(operations), len(operations))
        return found


Form = tuple[str, tuple[tuple[int, ...], ...]]
"""A method, and a row of ranks for each of its ranks."""


def _forms(layer: Layer) -> list[Form]:
    """The dense one, and those that a plan may take."""
    found: list[Form] = [(DENSE, ())]
    for name, row in METHODS.items():
        if isinstance(row, Method) and refusal(layer, name) is None:
            found.append((name, tuple(_grid(top) for top in max_ranks(layer, name))))
    return found


def _grid(top: int) -> tuple[int, ...]:
    return (*(rank for rank in GRID if rank < top), top)


def _product(form: Form) -> Iterator[tuple[int, ...]]:
    return itertools.product(*form[1])


def _operations(calls: Calls, name: str, ranks: tuple[int, ...]) -> list[Operation]:
    return calls.dense() if name == DENSE else calls.decomposed(name, ranks)


def _parts(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """One after another, as many as a file may hold."""
    part: list[Operation] = []
    size = 0
    for each in operations:
        if part and size + each.numbers > NUMBERS:
            yield part
            part, size = [], 0
        part.append(each)
        size += each.numbers
    if part:
        yield part


def _middle(values: np.ndarray) -> float:
    """The mean of the middle half: the profiler counts whole microseconds, which a median would keep."""
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())
