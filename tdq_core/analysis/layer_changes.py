"""Measures how much a network's answers move when one layer alone is decomposed or rounded, on unlabelled images.

Each change is made as a run makes it (fitted to the layer's outputs or to its weights, balanced before it is rounded),
and the images pass the network from that layer on. Factors, moments and finished layers are kept on disk: what was
stopped goes on where it was.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from torch import nn

from tdq_core.analysis.alone import FORMS, Form
from tdq_core.analysis.one_layer import Fits, Made, Subject, close, fits_of, opened, rounding_of, takes
from tdq_core.compression.condition.apply import balance
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import InputError, NotNow
from tdq_core.graph.modules import children
from tdq_core.graph.replace import replace
from tdq_core.graph.replay import Replay
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import Session
from tdq_core.prediction.flips import flips
from tdq_core.prediction.sensitivity import (
    CP_EFFORT,
    DENSE,
    SENSITIVITIES,
    LayerChanges,
    Point,
    Sensitivities,
    sensitivity_id,
)
from tdq_core.ranks.expected import expected_error
from tdq_core.records.store import Store
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.machine import free_memory
from tdq_core.system.progress import Progress, silent
from tdq_core.system.side_by_side import side_by_side
from tdq_core.system.threads import free_threads

IMAGES = 64
"""That are passed for every change, at most: a mean squared change has far less noise than a share of right answers."""
MEMORY = 1.6e9
"""Bytes of activations that each process holds, at most: of larger networks fewer images are passed."""
SPARE = 1 << 30
"""Bytes that a process needs beside them."""
FEWEST = 8
BALANCED_FOR = Scheme(8, 8)
PIECES: dict[tuple[Form, ...], float] = {
    (): 0.0, tuple(f for f in FORMS if not f.slow): 1.0, tuple(f for f in FORMS if f.slow): 2.0
}  # fmt: skip
"""The forms of a layer that are measured in one piece, and about what that costs; none: the layer as it is."""
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """Sensitivities, and whether they were there already."""

    sensitivities: Sensitivities
    reused: bool


@contained()
def measure(
    spec: RunSpec, *, images: int = IMAGES, store: Store[Sensitivities] | None = None,
    on_progress: Progress = silent, allowed_models: Collection[str] | None = None,
) -> Measured:  # fmt: skip
    """Measure the sensitivities of the network of `spec` on its calibration images and keep them, or return those that
    are kept.

    Args:
        spec: its decomposition and precision are not read.
        images: of the calibration images pass the network for every change, at most.

    Raises:
        InputError: a network or images that do not exist, too few images.
        NotNow: the machine has too little memory free.
        NotKept: they are measured and could not be written; the error holds them.
    """
    if images < FEWEST:
        raise InputError(f"Sensitivities need at least {FEWEST} images that pass the network ('images'). Got {images}.")
    store, session = store or Store(SENSITIVITIES), Session()
    subject = RunSpec(model=spec.model, images=spec.images, seed=spec.seed)
    asked = subject.changed(method="auto", rule=RankRule("ratio", 2.0), calibrated=True)
    inputs = session.open(asked, on_progress=on_progress, allowed_models=allowed_models)
    name = sensitivity_id(spec, inputs.digests, images)
    if known := store.usable(name):
        return Measured(known, reused=True)
    store.require_writable()
    with store.alone(name, on_wait=lambda: on_progress("waiting: the same is being measured", 0, 0)):
        if known := store.usable(name):
            return Measured(known, reused=True)
        try:
            study = _Study(asked, name, inputs, session, images, allowed_models, on_progress)
            found = study.carried_out(subject)
        finally:
            close()
        path = store.put(found)
        return Measured(store.read(path), reused=False)


class _Study:
    """One network at work: each layer is a piece of it, for this process or for one that helps."""

    def __init__(self, asked: RunSpec, name: str, inputs: RunInputs, session: Session, images: int,
                 allowed: Collection[str] | None, on_progress: Progress) -> None:  # fmt: skip
        self._inputs, self._on_progress = inputs, on_progress
        taken, self._each = self._affordable(images)
        self._tables = {"outputs": inputs.table(spectra=True, on_progress=on_progress),
                        "weights": inputs.weights_table(on_progress=on_progress)}  # fmt: skip
        self._layers = [la for la in self._tables["outputs"].layers if la.refusal is None]
        names = tuple(la.name for la in self._layers)
        self._subject = Subject(name, asked, names, taken, None if allowed is None else tuple(sorted(allowed)))
        self._open = opened(self._subject, inputs, session)
        self._done = 0

    def _affordable(self, images: int) -> tuple[int, int]:
        """As many of the images as fit in the memory that each process may use, and what they take there."""
        calib = self._inputs.calib
        assert calib is not None, "opened with the run"
        if len(calib) < 2 * FEWEST:
            raise InputError(f"Sensitivities need at least {2 * FEWEST} calibration images ('calib_samples'): factors "
                             f"are fitted to some, and the others pass the network. Got {len(calib)}.")  # fmt: skip
        each = Replay(self._inputs.model.module, next(iter(self._inputs.calibration()))[:2]).bytes / 2
        count = int(min(len(calib) // 2, images, max(FEWEST, MEMORY // each)))
        if count * each > (free := free_memory()):
            raise NotNow(f"Passing {count} images needs {count * each / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: "
                         "take fewer ('images').")  # fmt: skip
        return count, int(count * each)

    def carried_out(self, spec: RunSpec) -> Sensitivities:
        fits = self._fits()
        rounded = self._factors_rounded({name: each.middle for name, each in fits.items()})
        layers = {name: LayerChanges(fits=self._points(name, each), rounding={DENSE: each.rounded, **rounded[name]})
                  for name, each in fits.items()}  # fmt: skip
        return Sensitivities(
            sensitivity_id=self._subject.name, spec=spec,
            digests={role: self._inputs.digests[role] for role in ("model", "calib")}, tables=self._tables,
            images=self._subject.images, flips=flips(self._open.replay.logits.double().numpy()), layers=layers,
            provenance=_provenance(),
        )  # fmt: skip

    def _fits(self) -> dict[str, Fits]:
        """By layer; what takes long to find is a piece of its own."""
        takers = [(la, form) for la in self._layers for form in FORMS if takes(la, form)]
        missing = {form.name for la, form in takers if self._rounded(la, form) is None}
        pieces = [(la, forms, cost * la.params**2 / la.c_out) for la in self._layers for forms, cost in PIECES.items()]
        jobs = [(self._subject, la, forms, missing) for la, forms, _ in pieces]
        found = {la.name: Fits({}, {}, {}) for la in self._layers}
        for (la, *_), part in zip(pieces, self._side_by_side(fits_of, jobs, [p[2] for p in pieces]), strict=True):
            found[la.name] |= part
        return found

    def _factors_rounded(self, middle: Mapping[str, Mapping[str, Made]]) -> dict[str, dict[str, dict[str, float]]]:
        """By layer and form: at middle ranks, balanced as before integers, against itself in floats."""
        found = {la.name: {f.name: known for f in FORMS if takes(la, f) and (known := self._rounded(la, f))}
                 for la in self._layers}  # fmt: skip
        parts: dict[str, dict[str, tuple[list[nn.Module], Made]]] = {la.name: {} for la in self._layers}
        for form in FORMS:
            made = {name: own[form.name] for name, own in middle.items() if form.name in own}
            for name, factors in self._balanced(made).items():
                if form.name not in found[name]:
                    parts[name][form.name] = factors, {n: m for n, m in made[name].items() if n != name}
        jobs = [(self._subject, name, own) for name, own in parts.items()]
        for (_, name, _), own in zip(jobs, self._side_by_side(rounding_of, jobs, [1.0] * len(jobs)), strict=True):
            found[name] |= own
        return found

    def _balanced(self, made: Mapping[str, Made]) -> dict[str, list[nn.Module]]:
        """By layer its factors, balanced in the network that has them all."""
        if not made:
            return {}
        whole = copy.deepcopy(self._open.model)
        replace(whole, {name: module for each in made.values() for name, module in each.items()})
        with free_threads():
            ready, _ = balance(
                whole, list(made), self._open.fitting.calibration, BALANCED_FOR, on_progress=self._on_progress
            )
        return {name: list(children(ready.get_submodule(name)).values()) for name in made}

    def _side_by_side(self, work: Callable[[Job], Result], jobs: Sequence[Job], costs: Sequence[float]) -> list[Result]:
        begun = self._done

        def on_done(done: int) -> None:
            self._done = begun + done
            self._on_progress("layers changed", self._done, (len(PIECES) + 1) * len(self._layers))

        return side_by_side(work, jobs, costs=costs, on_done=on_done, memory=SPARE + self._each)

    def _rounded(self, layer: Layer, form: Form) -> dict[str, float] | None:
        return self._open.kept(layer.name, f"{form.name} rounded")

    def _points(self, name: str, found: Fits) -> dict[str, dict[str, tuple[Point, ...]]]:
        """With what the spectra predict."""
        return {form: {fit: self._told(name, form, fit, points) for fit, points in of.items()}
                for form, of in found.points.items()}  # fmt: skip

    def _told(self, name: str, form: str, fit: str, points: Iterable[tuple[Ranks, float]]) -> tuple[Point, ...]:
        layer, method = self._tables[fit].layer(name), form.removesuffix("+epc")
        made = (Point(ranks=r, error=float(expected_error(layer, method, r)), change=c) for r, c in points)
        return tuple(sorted(made, key=lambda point: -point.error))


def _provenance() -> dict[str, object]:
    return machine.describe() | {"time": datetime.now(UTC).isoformat(timespec="seconds"), "cp_effort": CP_EFFORT}
