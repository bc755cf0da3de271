"""What a page is about: one network with its weights, and the images that it is measured on. Plain values.

A subject has a name that stands in the address, as `resnet18_cifar10@cifar10-jpeg@1000`: the network (with the file of
its weights, where it is not the registered one), the images (without the folder that they lie in here, for they lie in
other folders elsewhere), and how many of them. Where runs of two contents go by one name, each says which it is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cached_runs.study import DATA, NETWORKS
from dashboard.facts.groups import Group
from tdq_core.data.refs import parse_ref
from tdq_core.errors import InputError
from tdq_core.models.registry import MODELS
from tdq_core.records.record import RunRecord
from tdq_core.specs import ModelSpec, RunSpec

DEPENDENT = ("run", "runs", "study", "recipe", "layer", "plan", "layers_shown", "stage", "kernel", "zoom")
"""Choices that mean nothing for another subject."""
LEAST_IMAGES = 2
"""An interval needs two images."""
_SEPARATOR = "@"
_LAST_PART = re.compile(r"[^/\\]*[/\\]*$")
_COUNT = re.compile("[1-9][0-9]{0,8}")


class Subject(NamedTuple):
    """One network on one set of images.

    Attributes:
        key: stands in the address; label: for people.
        spec: the untouched network on these images, where they lie for this server.
        group: what has been measured of it, None where nothing has.
    """

    key: str
    label: str
    spec: RunSpec
    group: Group | None = None

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Its complete runs."""
        return self.group.complete if self.group else ()

    @property
    def network(self) -> str | None:
        """The network of the study that it is; None where it is none, or on other images than the study's."""
        model, data, samples = self.spec.subject
        ours = model.name in NETWORKS and model.weights is None and images_name(data) == DATA
        return model.name if ours and samples == NETWORKS[model.name] else None


def model_name(model: ModelSpec) -> str:
    """A network with its weights in one word: 'resnet18_cifar10', or 'nets.py:small (small.safetensors)'."""
    return model.name if model.weights is None else f"{model.name} ({_LAST_PART.findall(model.weights)[0]})"


def images_name(ref: str) -> str:
    """Images in one word; only a folder of one's own is called by its place."""
    try:
        parsed = parse_ref(ref)
    except InputError:  # given in Python: they have no place
        return ref
    return str(parsed) if parsed.kind == "folder" else parsed.kind


def name_of(model: ModelSpec, data: str, samples: int | None) -> str:
    """The name of a subject, as the address has it."""
    parts = [model_name(model), images_name(data)] + ([str(samples)] if samples else [])
    return _SEPARATOR.join(parts)


def subject_name(spec: RunSpec) -> str:
    """The name of what a run measures."""
    return name_of(*spec.subject)


def why_not_on(model: ModelSpec, data: str) -> str:
    """Why a network cannot tell these images apart; '' where it may. Of networks that are not registered, nobody knows
    before they are run."""
    known, name = MODELS.get(model.name), images_name(data)
    if known is None or not known.images or name in known.images or name.startswith("folder:"):
        return ""
    return f"{model.name} was made for the classes of {' and '.join(known.images)}, not for those of {name}"


def subjects_of(groups: Iterable[Group], offered: Sequence[RunSpec]) -> tuple[Subject, ...]:
    """Everything that can be looked at: what was measured first, the study's networks before others, then what can be
    and has not been. `offered`: untouched networks on whole sets of images."""
    groups = [g for g in groups if g.complete or g.unfinished]
    twice = Counter(subject_name(g.about) for g in groups)
    found = []
    for group in groups:
        key = subject_name(group.about)
        key = f"{key}{_SEPARATOR}{group.key}" if twice[key] > 1 else key
        label = f"{group.label}: {len(group.complete)} run{'s' * (len(group.complete) != 1)}"
        found.append(Subject(key, label, _placed_among(group.about, offered), group))
    found.sort(key=lambda s: (s.network is None, -len(s.runs), s.label))
    measured = {subject_name(s.spec) for s in found}
    rest = {subject_name(spec): not_measured(spec) for spec in offered if subject_name(spec) not in measured}
    return (*found, *rest.values())


def not_measured(spec: RunSpec) -> Subject:
    """One of which there is no run yet."""
    model, data, samples = spec.subject
    many = f"{samples:,} images of " if samples else ""
    return Subject(subject_name(spec), f"{model_name(model)} on {many}{images_name(data)}: no run yet", spec)


def _placed_among(about: RunSpec, offered: Sequence[RunSpec]) -> RunSpec:
    """The untouched network of a run, on its images where they are offered."""
    plain = about.dense().changed(calib=about.images.calib)
    wanted = subject_name(plain.changed(samples=None))
    same = [spec for spec in offered if subject_name(spec) == wanted and spec.model == about.model]
    if not same:
        return plain
    last = same[-1]  # named at the start, with its folder
    return last.changed(samples=plain.images.samples, seed=plain.seed)


def find_subject(key: str, known: Sequence[Subject], offered: Sequence[RunSpec]) -> Subject | None:
    """The subject of this name: one that is known, or so many images of an offered one; None where there is none."""
    for subject in known:
        if subject.key == key:
            return subject
    for subject in known:  # two go by this name: the one with most runs
        if subject.group and key == subject_name(subject.group.about):
            return subject
    whole, _, count = key.rpartition(_SEPARATOR)
    for spec in reversed(offered):
        if whole == subject_name(spec) and _COUNT.fullmatch(count) and int(count) >= LEAST_IMAGES:
            return not_measured(spec.changed(samples=int(count)))
    return None


def old_name(query: Mapping[str, str], known: Sequence[Subject], offered: Sequence[RunSpec]) -> str | None:
    """The name of the subject that an address of before names: by `group`, by `model`, `data` and `samples`, by
    `network`, or by a `run` alone; what it says where that is not here. None where it names none."""
    if key := query.get("group"):
        return next((s.key for s in known if s.group and s.group.key == key), key)
    if model := query.get("network"):
        return name_of(ModelSpec(model), DATA, NETWORKS[model]) if model in NETWORKS else model
    if "model" in query or "data" in query or "samples" in query:
        return _by_parts(query, known, offered)
    if run_id := query.get("run"):
        return next((s.key for s in known if s.group and _holds(s.group, run_id)), None)
    return None


def _by_parts(query: Mapping[str, str], known: Sequence[Subject], offered: Sequence[RunSpec]) -> str:
    model = query.get("model") or (model_name(known[0].spec.model) if known else "")
    if "data" not in query and "samples" not in query:  # its images are not named: those that it was measured on
        if found := next((s.key for s in known if s.group and model_name(s.spec.model) == model), None):
            return found
    own = [images_name(spec.images.data) for spec in offered if model_name(spec.model) == model]
    data = images_name(query["data"]) if query.get("data") else (own[0] if own else "")
    return _SEPARATOR.join(part for part in (model, data, query.get("samples")) if part)


def _holds(group: Group, run_id: str) -> bool:
    return any(r.run_id == run_id for r in (*group.complete, *group.unfinished))


def belongs(spec: RunSpec, digests: Mapping[str, str], subject: Subject, *, images: bool = True) -> bool:
    """Whether what was made of `spec`, with these contents, is about `subject`; a study of components looks at
    calibration images alone, so that those which are evaluated do not count (`images`)."""
    own = subject.spec
    if not images:
        spec, own = spec.changed(samples=None), own.changed(samples=None)
    if subject_name(spec) != subject_name(own):
        return False
    held = (*subject.group.complete, *subject.group.unfinished)[0].digests if subject.group else {}
    roles = ("model", "data") if images else ("model",)
    return all(held.get(role, one) == one for role in roles if (one := digests.get(role)))


def placed(run: RunSpec, here: RunSpec) -> RunSpec:
    """A run's spec with its images where `here` has those of the same kind: the same images lie in other folders on
    other machines. Whether they are the same is for whoever opens them to say."""
    try:
        same = parse_ref(run.images.data).kind == parse_ref(here.images.data).kind
    except InputError:  # given in Python: they have no place
        return run
    return run.changed(data=here.images.data) if same else run
