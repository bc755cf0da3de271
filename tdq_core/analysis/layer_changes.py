"""Measures how much a network's answers move when one layer alone is decomposed or rounded, on unlabelled images.

Each change is made as a run makes it (fitted to the layer's outputs or to its weights, balanced before it is rounded),
and the images pass the network from that layer on. Factors, moments and finished layers are kept on disk: what was
stopped goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial

import torch
from torch import Tensor

from tdq_core.analysis.alone import EFFORT, FORMS, Alone, Form, Ways, rounding
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import InputError, NotNow
from tdq_core.graph.replay import Replay
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import Session
from tdq_core.prediction.flips import flips
from tdq_core.prediction.sensitivity import (
    DENSE,
    FITS,
    MEASURED,
    PARTS,
    SENSITIVITIES,
    LayerChanges,
    Point,
    Sensitivities,
    sensitivity_id,
)
from tdq_core.ranks.costs import cost, ladder, refusal
from tdq_core.ranks.expected import expected_error
from tdq_core.records.caches import CACHES
from tdq_core.records.store import Store, runs_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system import machine
from tdq_core.system.cache import Cache
from tdq_core.system.containment import contained
from tdq_core.system.machine import free_memory
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import free_threads

IMAGES = 64
"""That are passed for every change, at most: a mean squared change has far less noise than a share of right answers."""
MEMORY = 4e9
"""Bytes of activations that are held, at most: of larger networks fewer images are passed."""
FEWEST = 8
KEPT = (0.8, 0.6, 0.42, 0.28, 0.17, 0.09, 0.045, 0.02)
KEPT_OF_SLOW = (0.7, 0.42, 0.22, 0.1)
"""Shares of a layer's params at which it is tried; fewer for what takes long to find, or is asked for less."""
MOST_OF_SLOW = 512
"""Ranks up to which what takes long to find is tried: the change at higher ones follows from those below."""
ROUNDED_AT = 0.42
"""About at this share the factors are rounded."""
BALANCED_FOR = Scheme(8, 8)

MOST_OF_SLOWEST = 256
"""The same of CP without the correction, which is looked for with the usual effort."""


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
        with free_threads():
            found = _Study(name, inputs, session, images, on_progress).carried_out(subject)
        path = store.put(found)
        return Measured(store.read(path), reused=False)


class _Study:
    """One network at work."""

    def __init__(self, name: str, inputs: RunInputs, session: Session, images: int, on_progress: Progress) -> None:
        self._name, self._inputs, self._on_progress = name, inputs, on_progress
        self._tables = {"outputs": inputs.table(spectra=True, on_progress=on_progress),
                        "weights": inputs.weights_table(on_progress=on_progress)}  # fmt: skip
        self._layers = [la for la in self._tables["outputs"].layers if la.refusal is None]
        self._alone = Alone.of(inputs, [la.name for la in self._layers], session.memory, on_progress)
        self._images = self._affordable(_spread(torch.cat(list(inputs.calibration())), images))
        self._kept = Cache(runs_folder() / CACHES["changes"].folder)
        self._done = 0

    def _affordable(self, images: Tensor) -> Tensor:
        """As many as fit in the memory that may be used."""
        each = Replay(self._inputs.model.module, images[:2]).bytes / 2
        count = int(min(len(images), max(FEWEST, MEMORY // each)))
        if count * each > (free := free_memory()):
            raise NotNow(f"Passing {count} images needs {count * each / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: "
                         "take fewer ('images').")  # fmt: skip
        return images[:count]

    def carried_out(self, spec: RunSpec) -> Sensitivities:
        fits: dict[str, dict[str, dict[str, tuple[Point, ...]]]] = {la.name: {} for la in self._layers}
        rounded: dict[str, dict[str, dict[str, float]]] = {la.name: {} for la in self._layers}
        for layer in self._layers:
            rounded[layer.name][DENSE] = self._remembered(layer, DENSE, partial(self._dense, layer))
        for form in FORMS:
            takers = self._takers(form)
            for fit in FITS if form.fits_of == form.name else ():
                for layer, points in self._fitted(takers, form, fit):
                    fits[layer.name].setdefault(form.name, {})[fit] = points
            for layer, parts in self._factors_rounded(takers, form):
                rounded[layer.name][form.name] = parts
        return Sensitivities(
            sensitivity_id=self._name, spec=spec, digests={r: self._inputs.digests[r] for r in ("model", "calib")},
            tables=self._tables, images=len(self._images), flips=flips(self._replay.logits.double().numpy()),
            layers={name: LayerChanges(fits=fits[name], rounding=rounded[name]) for name in fits},
            provenance=_provenance(),
        )  # fmt: skip

    @cached_property
    def _replay(self) -> Replay:
        return Replay(self._inputs.model.module, self._images)

    def _takers(self, form: Form) -> list[Layer]:
        return [la for la in self._layers if refusal(la, form.method) is None and ladder(la, form.method)]

    def _fitted(self, takers: list[Layer], form: Form, fit: str) -> Iterator[tuple[Layer, tuple[Point, ...]]]:
        """Each layer at a few ranks."""
        tried = {la.name: _tried(la, form, fit) for la in takers}
        self._alone.find_starts([(la, ranks) for la in takers for ranks in tried[la.name]], form)
        tables = self._tables[fit]
        for layer in takers:
            seen, points = tables.layer(layer.name), []
            for ranks in tried[layer.name]:

                def change(la: Layer = layer, r: Ranks = ranks) -> dict[str, float]:
                    return {"change": self._change(self._alone.decomposed(la, form, r, fit))}

                found = self._remembered(layer, f"{form.name} {fit} {'x'.join(map(str, ranks))}", change)["change"]
                points.append(Point(ranks=ranks, error=float(expected_error(seen, form.method, ranks)), change=found))
            yield layer, tuple(sorted(points, key=lambda point: -point.error))

    def _factors_rounded(self, takers: list[Layer], form: Form) -> Iterator[tuple[Layer, dict[str, float]]]:
        """Each layer at middle ranks, balanced as before integers, against itself in floats."""
        placed = [(la, _middle(la, form)) for la in takers]
        self._alone.find_starts(placed, form)
        balanced = self._alone.balanced(placed, form, BALANCED_FOR)
        for layer in takers:

            def changes(la: Layer = layer) -> dict[str, float]:
                factors, norm = balanced(la)
                plain = self._replay.changed({la.name: rounding(factors), **norm})
                return {part: self._change({la.name: rounding(factors, *PARTS[part], corrected=True), **norm}, plain)
                        for part in MEASURED}  # fmt: skip

            yield layer, self._remembered(layer, f"{form.name} rounded", changes)

    def _dense(self, layer: Layer) -> dict[str, float]:
        own = [self._inputs.model.module.get_submodule(layer.name)]
        return {part: self._change({layer.name: rounding(own, *PARTS[part])}) for part in MEASURED}

    def _change(self, ways: Ways, before: Tensor | None = None) -> float:
        """See `Point.change`; `before` are the logits that it is counted from, those of the network if None."""
        logits = self._replay.logits
        moved = _centred(self._replay.changed(ways) - (logits if before is None else before))
        return float(moved.square().sum() / _centred(logits).square().sum())

    def _remembered(self, layer: Layer, what: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What `make` makes, or what an earlier study of the same name has made."""
        name = hashlib.sha256(f"{self._name}\n{layer.name}\n{what}".encode()).hexdigest()
        kept = self._kept.get(name)
        found = json.loads(kept) if kept else make()
        if not kept:
            self._kept.put(name, json.dumps(found).encode())
        self._done += 1
        self._on_progress("layers changed", self._done, self._steps)
        return dict(found)

    @cached_property
    def _steps(self) -> int:
        found = len(self._layers)
        for form in FORMS:
            fits = FITS if form.fits_of == form.name else ()
            found += sum(1 + sum(len(_tried(la, form, fit)) for fit in fits) for la in self._takers(form))
        return found


def _provenance() -> dict[str, object]:
    return machine.describe() | {"time": datetime.now(UTC).isoformat(timespec="seconds"), "cp_effort": EFFORT}


def _tried(layer: Layer, form: Form, fit: str) -> list[Ranks]:
    shares = KEPT if fit == "outputs" and not form.slow else KEPT_OF_SLOW
    found = dict.fromkeys(_nearest(layer, form.method, share) for share in shares)
    within = [ranks for ranks in found if not form.slow or max(ranks) <= MOST_OF_SLOW]
    return within or list(found)[-1:]


def _middle(layer: Layer, form: Form) -> Ranks:
    """Of the ranks that are tried, those at which factors are rounded: lower ones where no correction shortens the way
    of CP to them."""
    tried = _tried(layer, form, "outputs")
    short = [r for r in tried if max(r) <= MOST_OF_SLOWEST] if form.name == "cp" else tried
    return min(short or tried[-1:],
               key=lambda r: abs(cost(layer, form.method, r).params - ROUNDED_AT * layer.params))  # fmt: skip


def _nearest(layer: Layer, method: str, share: float) -> Ranks:
    """Of the layer's ladder, the ranks that keep about this share of its params."""
    return min(ladder(layer, method), key=lambda rung: abs(rung[1].params - share * layer.params))[0]


def _spread(images: Tensor, count: int) -> Tensor:
    """So many of the images, evenly."""
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()]


def _centred(logits: Tensor) -> Tensor:
    return logits.double() - logits.double().mean(1, keepdim=True)
