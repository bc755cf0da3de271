"""Times the layers of a network, dense and in every form at a grid of ranks, on this machine in ONNX Runtime.

Every sub-layer that a form at some ranks would have is one operation of a file, with weights of its own; the runtime's
own profiler says how long each took. A file is as large as a decomposed network, so that what an operation reads lies
as near as it would there. Sub-layers of one shape are timed once. What a layer takes was made a moment ago in a
network: all of it is somewhat faster there, by as much as its dense layers, profiled in the dense network, are faster
than here. Where they are slower there, the network is too large for the caches: what its layers take more is told by
their weights, so much for each, and of factors by theirs. The whole dense network is timed as it is.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from tdq_core.errors import InputError
from tdq_core.layers.methods import METHODS, Method
from tdq_core.layers.table import Layer
from tdq_core.layers.times import FormTime, Grid, kinds
from tdq_core.pipeline.run_files import RunFiles
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.operation_file import name_of, write
from tdq_core.pipeline.speed.profile import Profiled, profile
from tdq_core.pipeline.speed.races import Settings
from tdq_core.pipeline.speed.stages import Calls, Operation, calls_of
from tdq_core.prediction.layer_times import DENSE, LAYER_TIMES, NUMBERS, Conditions, LayerTimes, times_id
from tdq_core.ranks.costs import max_ranks, refusal
from tdq_core.records.store import Store
from tdq_core.specs import RunSpec
from tdq_core.specs.precision import ONNXRUNTIME
from tdq_core.specs.precision_spec import require_countable
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import Progress, silent

PASSES, DENSE_PASSES = 30, 100
TICK_NS = 1000.0
"""What the profiler counts by: an operation of which it has counted nothing is told by one tick in all passes."""


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
        path, example = files.dense(dense.precision.name, ONNXRUNTIME.name).path, files.example()
        fed = example[torch.arange(batch) % len(example)].contiguous()
        layers = [la for la in inputs.table(spectra=False).layers if la.refusal is None]
        study = _Study(calls_of(inputs.model.module, layers, fed), dense, threads, folder, on_progress)
        found, whole = study.forms(as_in=path, fed=fed)
    times = LayerTimes(
        times_id=name, spec=dense, digests={"model": inputs.digests["model"]}, conditions=conditions, dense_ns=whole,
        layers=found, provenance=machine.describe() | {"time": datetime.now(UTC).isoformat(timespec="seconds")},
    )  # fmt: skip
    return Measured(store.read(store.put(times)), reused=False)


class _Study:
    """One network at work."""

    def __init__(
        self, calls: Sequence[Calls], spec: RunSpec, threads: int, folder: Path, on_progress: Progress
    ) -> None:
        self._calls, self._threads, self._folder, self._on_progress = calls, threads, folder, on_progress
        self._integers = spec.precision.numbers.kind == "int8"

    def forms(self, *, as_in: Path, fed: torch.Tensor) -> tuple[dict[str, tuple[FormTime, ...]], int]:
        """By layer the time of every form at the ranks of its grid, in a network like the dense one of the file `as_in`
        on the images `fed`; and nanoseconds of a call of that network, measured between those of its layers: taken at
        another moment, what it has more than its layers would also be what the machine did besides."""
        wanted = dict.fromkeys(each for calls in self._calls for each in _operations(calls))
        ns = self._timed(list(wanted))
        names = [calls.layer.name for calls in self._calls]
        dense = profile([Profiled(as_in, names)], fed, passes=DENSE_PASSES, threads=self._threads)[0]
        told = {name: _middle(ms) for name, ms in dense.layers.items()}
        known = [each for calls in self._calls if calls.layer.name in told for each in calls.dense()]
        there = _in_network(ns, known, sum(told.values()))
        by_layer = {calls.layer.name: tuple(_form_times(calls, there)) for calls in self._calls}
        return by_layer, round(1e6 * dense.whole)

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
            found |= {each: _middle(spent[name]) for each, name in zip(part, names, strict=True)}
        self._on_progress("time the layers", len(operations), len(operations))
        return found


def _methods(layer: Layer) -> list[str]:
    """Those that a plan may decompose the layer by."""
    return [name for name, row in METHODS.items() if isinstance(row, Method) and refusal(layer, name) is None]


def _operations(calls: Calls) -> Iterator[Operation]:
    """All that is to be timed of a layer."""
    yield from calls.dense()
    for name in _methods(calls.layer):
        for _, rows in kinds(max_ranks(calls.layer, name)):
            for ranks in itertools.product(*rows):
                yield from calls.decomposed(name, ranks)


def _in_network(ns: Mapping[Operation, float], dense: Sequence[Operation], together: float) -> dict[Operation, float]:
    """What each takes in a network whose `dense` operations take `together` nanoseconds; by itself it takes `ns`."""
    apart, weights = sum(ns[each] for each in dense), sum(math.prod(each.weight) for each in dense)
    if not apart:
        return dict(ns)
    share, far = min(together / apart, 1.0), max(together - apart, 0.0) / weights
    return {each: share * taken + far * math.prod(each.weight) for each, taken in ns.items()}


def _form_times(calls: Calls, ns: Mapping[Operation, float]) -> Iterator[FormTime]:
    def together(operations: list[Operation]) -> int:
        return round(sum(ns[each] for each in operations))

    yield FormTime(DENSE, dense=together(calls.dense()))
    for name in _methods(calls.layer):
        yield FormTime(name, grids=tuple(
            Grid(step, rows, tuple(together(calls.decomposed(name, ranks)) for ranks in itertools.product(*rows)))
            for step, rows in kinds(max_ranks(calls.layer, name))
        ))  # fmt: skip


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


def _middle(ms: np.ndarray) -> float:
    """Nanoseconds: the mean of the middle half, for the profiler counts whole microseconds, which a median would keep;
    of what it has never counted, one tick in all passes."""
    ordered = np.sort(ms)
    quarter = len(ordered) // 4
    return max(1e6 * float(ordered[quarter : len(ordered) - quarter].mean()), TICK_NS / len(ms))
