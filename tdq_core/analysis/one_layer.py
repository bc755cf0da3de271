"""A network opened to change one layer at a time, in this process or in one that helps."""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tdq_core.analysis.alone import Alone, Form, Ways, rounding
from tdq_core.graph.replay import Replay
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import Session
from tdq_core.prediction.sensitivity import DENSE, FITS, MEASURED, PARTS
from tdq_core.ranks.costs import cost, ladder, refusal
from tdq_core.records.caches import CACHES
from tdq_core.records.store import runs_folder
from tdq_core.specs import RunSpec
from tdq_core.system.cache import Cache

KEPT = (0.8, 0.6, 0.42, 0.28, 0.17, 0.09, 0.045, 0.02)
KEPT_OF_SLOW = (0.7, 0.42, 0.22, 0.1)
"""Shares of a layer's params at which it is tried; fewer for what takes long to find, or is asked for less."""
MOST_OF_SLOW = 512
"""Ranks up to which what takes long to find is tried: the change at higher ones follows from those below."""
MOST_OF_SLOWEST = 256
"""The same of CP without the correction, which takes longest."""
ROUNDED_AT = 0.42
"""About at this share the factors are rounded."""


Made = dict[str, nn.Module]
"""By name what stands in the place of a layer, and in that of the batch norm behind it."""


@dataclass(frozen=True)
class Subject:
    """Whose layers are changed: all that a process needs to open it.

    Attributes:
        name: of the sensitivities.
        layers: names of those that are changed.
        images: of the calibration images pass the network for every change.
        here, runs: the folders that paths are read from and that runs lie in.
    """

    name: str
    spec: RunSpec
    layers: tuple[str, ...]
    images: int
    allowed_models: tuple[str, ...] | None
    here: Path = field(default_factory=Path.cwd)
    runs: Path = field(default_factory=lambda: runs_folder().resolve())


@dataclass(frozen=True)
class Fits:
    """One layer: by form and fit its points (ranks, change), the change by rounding it as it is, and by form what it
    becomes at the middle ranks; or a part of that."""

    points: Mapping[str, Mapping[str, tuple[tuple[Ranks, float], ...]]]
    rounded: Mapping[str, float]
    middle: Mapping[str, Made]

    def __or__(self, other: "Fits") -> "Fits":
        return Fits({**self.points, **other.points}, {**self.rounded, **other.rounded}, {**self.middle, **other.middle})


class Opened:
    """A subject at work; what it has measured lies on disk, by layer and by what was done.

    Factors are fitted to all calibration images but those that pass the network: on images that a fit has seen, factors
    of a wide layer change the answers several times less than on any others.
    """

    def __init__(self, subject: Subject, inputs: RunInputs, session: Session) -> None:
        self._name = subject.name
        self.model = inputs.model.module
        self.fitting, passed = split(inputs, subject.images)
        self._alone = Alone.of(self.fitting, list(subject.layers), session.memory)
        self.replay = Replay(self.model, torch.cat(list(passed.calibration())))
        self._kept = Cache(runs_folder() / CACHES["changes"].folder)

    def fits(self, layer: Layer, forms: Sequence[Form], placed: Collection[str]) -> Fits:
        """The layer as it is where `forms` has none, else in those of them that it may take; of the ones named in
        `placed` also what it becomes at middle ranks."""
        points, middle = {}, {}
        for form in (form for form in forms if takes(layer, form)):
            if form.name in placed:
                middle[form.name] = self._alone.decomposed(layer, form, middle_ranks(layer, form), "outputs")
            if form.fits_of == form.name:
                points[form.name] = {fit: self._points(layer, form, fit, middle.get(form.name)) for fit in FITS}
        return Fits(points, {} if forms else self._dense(layer.name), middle)

    def _points(self, layer: Layer, form: Form, fit: str, middle: Made | None) -> tuple[tuple[Ranks, float], ...]:
        found = []
        for ranks in tried(layer, form, fit):
            what = f"{form.name} {fit} {'x'.join(map(str, ranks))}"
            if (known := self.kept(layer.name, what)) is None:
                same = middle if fit == "outputs" and ranks == middle_ranks(layer, form) else None
                ways = same or self._alone.decomposed(layer, form, ranks, fit)
                known = self._keep(layer.name, what, {"change": self._change(ways)})
            found.append((ranks, known["change"]))
        return tuple(found)

    def factors_rounded(self, name: str, form: str, factors: list[nn.Module], norm: Made) -> dict[str, float]:
        """The layer in this form, balanced as before integers, against itself in floats."""
        plain = self.replay.changed({name: rounding(factors), **norm})
        return self._keep(name, f"{form} rounded", {
            part: self._change({name: rounding(factors, *PARTS[part], corrected=True), **norm}, plain)
            for part in MEASURED
        })  # fmt: skip

    def _dense(self, name: str) -> dict[str, float]:
        own = [self.model.get_submodule(name)]
        known = self.kept(name, DENSE)
        return known or self._keep(name, DENSE, {p: self._change({name: rounding(own, *PARTS[p])}) for p in MEASURED})

    def _change(self, ways: Ways, before: Tensor | None = None) -> float:
        """See `Point.change`; `before` are the logits that it is counted from, those of the network if None."""
        logits = self.replay.logits
        moved = _centred(self.replay.changed(ways) - (logits if before is None else before))
        return float(moved.square().sum() / _centred(logits).square().sum())

    def kept(self, name: str, what: str) -> dict[str, float] | None:
        """What an earlier study of the same name has measured of the layer `name`."""
        kept = self._kept.get(self._file(name, what))
        return dict(json.loads(kept)) if kept else None

    def _keep(self, name: str, what: str, found: dict[str, float]) -> dict[str, float]:
        self._kept.put(self._file(name, what), json.dumps(found).encode())
        return found

    def _file(self, name: str, what: str) -> str:
        return hashlib.sha256(f"{self._name}\n{name}\n{what}".encode()).hexdigest()


_OPEN: dict[Subject, Opened] = {}
"""The subject that this process has open: pieces of work on it come one after another."""


def opened(subject: Subject, inputs: RunInputs | None = None, session: Session | None = None) -> Opened:
    """`subject` in this process, from `inputs` where they are at hand."""
    if subject not in _OPEN:
        _OPEN.clear()
        session = session or Session()
        inputs = inputs or session.open(subject.spec, allowed_models=subject.allowed_models)
        _OPEN[subject] = Opened(subject, inputs, session)
    return _OPEN[subject]


def close() -> None:
    """Let go of what is open."""
    _OPEN.clear()


@contextlib.contextmanager
def _where(subject: Subject) -> Iterator[None]:
    """A process that helps was started in other circumstances, perhaps."""
    before = os.environ.get("TDQ_RUNS")
    os.environ["TDQ_RUNS"] = str(subject.runs)
    try:
        with contextlib.chdir(subject.here):
            yield
    finally:
        os.environ.pop("TDQ_RUNS") if before is None else os.environ.update(TDQ_RUNS=before)


def fits_of(job: tuple[Subject, Layer, Sequence[Form], Collection[str]]) -> Fits:
    """A piece of work: `Opened.fits`."""
    subject, layer, forms, placed = job
    with _where(subject):
        return opened(subject).fits(layer, forms, placed)


def rounding_of(job: tuple[Subject, str, Mapping[str, tuple[list[nn.Module], Made]]]) -> dict[str, dict[str, float]]:
    """A piece of work: by form `Opened.factors_rounded`."""
    subject, name, forms = job
    with _where(subject):
        return {form: opened(subject).factors_rounded(name, form, *made) for form, made in forms.items()}


def takes(layer: Layer, form: Form) -> bool:
    return layer.refusal is None and refusal(layer, form.method) is None and bool(ladder(layer, form.method))


def tried(layer: Layer, form: Form, fit: str) -> list[Ranks]:
    """The ranks at which the layer is measured."""
    shares = KEPT if fit == "outputs" and not form.slow else KEPT_OF_SLOW
    found = dict.fromkeys(_nearest(layer, form.method, share) for share in shares)
    within = [ranks for ranks in found if not form.slow or max(ranks) <= MOST_OF_SLOW]
    return within or list(found)[-1:]


def middle_ranks(layer: Layer, form: Form) -> Ranks:
    """Of the ranks that are tried, those at which factors are rounded: lower ones where no correction shortens the way
    of CP to them."""
    able = tried(layer, form, "outputs")
    short = [r for r in able if max(r) <= MOST_OF_SLOWEST] if form.name == "cp" else able
    return min(short or able[-1:],
               key=lambda r: abs(cost(layer, form.method, r).params - ROUNDED_AT * layer.params))  # fmt: skip


def _nearest(layer: Layer, method: str, share: float) -> Ranks:
    """Of the layer's ladder, the ranks that keep about this share of its params."""
    return min(ladder(layer, method), key=lambda rung: abs(rung[1].params - share * layer.params))[0]


def split(inputs: RunInputs, count: int) -> tuple[RunInputs, RunInputs]:
    """`inputs` with all calibration images but `count`, evenly spread, and with these alone."""
    calib = inputs.calib
    assert calib is not None, "opened with the run"
    passed = np.linspace(0, len(calib) - 1, count).round().astype(int)
    others = np.setdiff1d(np.arange(len(calib)), passed)
    fitting, held = (replace(inputs, calib=part, digests=inputs.digests | {"calib": part.digest})
                     for part in (calib.subset(others), calib.subset(passed)))  # fmt: skip
    return fitting, held


def _centred(logits: Tensor) -> Tensor:
    return logits.double() - logits.double().mean(1, keepdim=True)
