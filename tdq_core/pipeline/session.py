"""What neighbouring runs share, for as long as somebody holds it: opened models and images, factors, decomposed models.

A session is passed to the runs that may use each other's work. What it has opened it keeps: files that change meanwhile
are seen by a new session. No answer depends on it: a cold one gives what a warm one gives.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import NamedTuple, TypeVar

from torch import nn

from tdq_core.compression.condition.apply import Looked
from tdq_core.compression.decompose.factors import Details
from tdq_core.compression.decompose.modules import Made
from tdq_core.compression.memory import Memory
from tdq_core.data.images import ImageSet
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.pipeline.answers import Answers
from tdq_core.pipeline.inputs import RunInputs, overlap_note
from tdq_core.prediction.allocation import shares_by_changes
from tdq_core.prediction.layer_times import LAYER_TIMES, LayerTimes, plans_by_time, require_times
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import SENSITIVITIES, Sensitivities
from tdq_core.prediction.shelf import missing, predictor_for, sensitivities_for
from tdq_core.records.caches import CACHES
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, Store, runs_folder
from tdq_core.specs import ModelSpec, RunSpec
from tdq_core.system.cache import Cache
from tdq_core.system.memo import Latest
from tdq_core.system.progress import Progress, silent

OPENED = 4
"""Models, and sets of images, that stay open: the last ones asked for."""
T = TypeVar("T")


class LayerResult(NamedTuple):
    """What was made of one layer: how far its kernel is from the original's, and what the steps tell."""

    rel_error: float
    details: tuple[Details, ...]


class Compressed(NamedTuple):
    """A model on its way, and by name what was made of its layers."""

    module: nn.Module
    results: dict[str, LayerResult]

    @classmethod
    def of(cls, module: nn.Module, made: Made) -> "Compressed":
        return cls(module, {name: LayerResult(each.rel_error, each.details) for name, each in made.items()})

    def told(self, details: Mapping[str, tuple[Details, ...]], *, module: nn.Module | None = None) -> "Compressed":
        """With more to tell of some layers, and another module where it has changed."""
        results = {n: LayerResult(r.rel_error, (*r.details, *details.get(n, ()))) for n, r in self.results.items()}
        return Compressed(module or self.module, results)


class Session:
    """Work that one run has done and the next may use."""

    def __init__(self) -> None:
        self.memory = Memory(Cache(runs_folder() / CACHES["factors"].folder))
        self.answers = Answers(Cache(runs_folder() / CACHES["answers"].folder))
        self.decomposed: Latest[Compressed] = Latest()
        self.conditioned: Latest[Compressed] = Latest()
        self.looked: Latest[Looked] = Latest()
        self._predictors: dict[str, Predictor | None] = {}
        self._models: OrderedDict[Hashable, LoadedModel] = OrderedDict()
        self._images: OrderedDict[Hashable, ImageSet] = OrderedDict()

    def open(
        self, spec: RunSpec, *, as_built: RunRecord | None = None, on_progress: Progress = silent,
        allowed_models: Collection[str] | None = None,
    ) -> RunInputs:  # fmt: skip
        """Load the model, open the images, and name the run by their contents.

        Args:
            as_built: of a run whose ranks those of `spec` are, whatever its rule would follow from today.
        """
        model = self.model(spec.model, seed=spec.seed, on_progress=on_progress, allowed_models=allowed_models)
        where, classes = spec.images, model.num_classes
        images = self.images(where.data, "eval", where.samples, spec.seed, classes, on_progress)
        digests = {"model": model.digest, "data": images.digest}
        notes = [*model.notes, *images.notes]
        calib = None
        if spec.needs_calibration:
            source = where.calib or where.data
            calib = self.images(source, "calib", where.calib_samples, spec.seed, classes, on_progress)
            digests["calib"] = calib.digest
            notes += [n for n in calib.notes if n not in notes]
            notes += overlap_note(spec, calib)
        if as_built:
            digests |= {role: as_built.digests[role] for role in FOLLOWED if role in as_built.digests}
            return RunInputs(spec, model, images, calib, digests, tuple(notes), built=as_built.layers)
        found = followed(spec, digests)
        times = timed_by(spec, digests)
        return RunInputs(spec, model, images, calib, digests, tuple(notes), found, times)

    def predictor(self, inputs: RunInputs, store: RunStore) -> Predictor | None:
        """Of the run's network, refitted on the runs that were there when it was first asked for; None where its
        sensitivities were never measured."""
        digest = inputs.digests["model"]
        if digest not in self._predictors:
            found = sensitivities_for(inputs.spec, Store(SENSITIVITIES).found().values, digest=digest)
            made = predictor_for(inputs.spec, found, store.found().values) if found else None
            self._predictors[digest] = made
        return self._predictors[digest]

    def model(
        self, spec: ModelSpec, *, seed: int, on_progress: Progress, allowed_models: Collection[str] | None
    ) -> LoadedModel:
        allowed = None if allowed_models is None else tuple(sorted(allowed_models))

        def load() -> LoadedModel:
            return load_model(spec, seed=seed, on_progress=on_progress, allowed=allowed_models)

        return _kept(self._models, (spec, seed, allowed), load)

    def images(
        self, ref: str, role: str, samples: int | None, seed: int, num_classes: int, on_progress: Progress
    ) -> ImageSet:
        def read() -> ImageSet:
            return open_images(
                ref, role=role, samples=samples, seed=seed, num_classes=num_classes, on_progress=on_progress
            )

        return _kept(self._images, (ref, role, samples, seed, num_classes), read)


FOLLOWED = ("sensitivities", "layer_times")
"""Digests of what ranks follow from."""


def followed(spec: RunSpec, digests: dict[str, str]) -> Sensitivities | None:
    """The sensitivities that the ranks of `spec` follow from, whose content joins its `digests`; None where they follow
    from none."""
    if not shares_by_changes(spec):
        return None
    found = require_sensitivities(spec, digests["model"])
    digests["sensitivities"] = found.content
    return found


def timed_by(spec: RunSpec, digests: dict[str, str]) -> LayerTimes | None:
    """The layer times that the ranks of `spec` follow from, whose content joins its `digests`; None where they follow
    from none."""
    if not plans_by_time(spec):
        return None
    found = require_times(spec, Store(LAYER_TIMES).found().values, digest=digests["model"])
    digests["layer_times"] = found.content
    return found


def require_sensitivities(spec: RunSpec, digest: str) -> Sensitivities:
    """Those that the ranks of `spec` follow from; `digest` is that of its network."""
    found = sensitivities_for(spec, Store(SENSITIVITIES).found().values, digest=digest)
    if found is None:
        raise InputError(missing(spec))
    return found


def _kept(opened: "OrderedDict[Hashable, T]", key: Hashable, make: Callable[[], T]) -> T:
    if key not in opened:
        opened[key] = make()
        while len(opened) > OPENED:
            opened.popitem(last=False)
    opened.move_to_end(key)
    return opened[key]


def open_run(
    spec: RunSpec, *, on_progress: Progress = silent, allowed_models: Collection[str] | None = None
) -> RunInputs:
    """`Session.open` for a run that shares nothing with others."""
    return Session().open(spec, on_progress=on_progress, allowed_models=allowed_models)
