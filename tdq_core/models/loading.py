"""From a run's model and weights to a module that is ready to be measured."""

import dataclasses
import hashlib
import json
import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tdq_core.errors import InputError
from tdq_core.graph.opened import adopted, trimmed
from tdq_core.graph.state import state_digest
from tdq_core.graph.wrappers import note_on, taken_out, without_wrappers
from tdq_core.models import factories, preprocess
from tdq_core.models.answers import Answers, as_it_was, ask, require_open, taken_channels
from tdq_core.models.factories import TIMM, Built
from tdq_core.models.opening import opened, uncompiled
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER, ModelEntry, WeightsEntry, entry
from tdq_core.models.weights_file import Taken, load_weights
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.containment import contained
from tdq_core.system.download import fetch
from tdq_core.system.files import file_sha256
from tdq_core.system.progress import Progress, silent


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights and everything that must travel with them.

    Attributes:
        module: in eval mode, float32, without gradients; opened: odd modules are plain ones, where that is the same.
        weights_source: a sentence for people: registered name, file name, or 'random, seed 0'.
        weights_sha256: of the weights file, None where there is no file.
        licence: of the registered weights, None where it is not known.
        digest: SHA-256 over the model's code (a registered name stands for it), its preprocessing and its state:
            the identity of the model's content.
        notes: what a reader must know before trusting the numbers, one sentence each.
        repeatable: it answers the same images alike each time.
        batch_free: its answer to an image does not depend on the others of the batch.
        renamed: whether, opened, its state has other names than that of the model as it was built.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    num_classes: int
    weights_source: str
    weights_sha256: str | None
    licence: str | None
    digest: str
    notes: tuple[str, ...]
    repeatable: bool = True
    batch_free: bool = True
    renamed: bool = False


@dataclass(frozen=True)
class _Weights:
    source: str
    sha256: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()
    code: str = ""


def load_model(
    spec: ModelSpec, *, seed: int = 0, on_progress: Progress = silent, allowed: Collection[str] | None = None
) -> LoadedModel:
    """Build the model, load its weights and settle its preprocessing.

    Args:
        seed: of random weights, and of what a factory draws.
        allowed: when given, a model that is neither registered nor named here is refused, before anything is imported.

    Raises:
        InputError: unknown or refused model, a factory that fails, weights that are missing or do not fit.
    """
    _check_allowed(spec.name, allowed)
    with contained(f"Loading the model '{spec.name}'"), uncompiled():
        _seed_everything(seed)  # and nobody else's draws change
        built = _build(spec, seed)
        require_open(built.module, spec.name)
        module, around = taken_out(built.module)
        weights = _fill(replace(built, module=module), MODELS.get(spec.name), spec, seed, on_progress=on_progress)
        around += without_wrappers(module)  # inside, only now: weights are kept under the names that the wrappers give
        module.float().cpu().eval()
        prepared, notes = _prepared(module, built, spec)
        answers = _answers(module, prepared, spec)
        module.requires_grad_(False)  # only now: a lazy module's parameters come with its first images
        found = adopted(module)
        digest, names = digest_of(built.code() + weights.code, prepared, module), set(module.state_dict())
        module, told = opened_with(module, prepared)
    notes = (*weights.notes, *note_on(around), *notes, *answers.notes, *found, *told)
    return LoadedModel(
        spec.name, module, prepared, answers.classes, weights.source, weights.sha256, weights.licence, digest, notes,
        renamed=names != set(module.state_dict()), repeatable=answers.repeatable, batch_free=answers.batch_free,
    )  # fmt: skip


def _seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _prepared(module: nn.Module, built: Built, spec: ModelSpec) -> preprocess.Noted:
    if known := MODELS.get(spec.name):
        return preprocess.overridden(known.preprocessing, spec)
    if not built.config:
        size, candidates = preprocess.size_of(spec), preprocess.channels_of(spec)
        return preprocess.by_hand(spec, taken_channels(module, size, candidates, spec.name))
    own, notes = preprocess.from_config(built.config)
    changed, more = preprocess.overridden(own, spec, channels=True)
    return changed, notes + more


def _answers(module: nn.Module, prepared: Preprocessing, spec: ModelSpec) -> Answers:
    """A registered model on images as registered is known."""
    known = MODELS.get(spec.name)
    if known and prepared == known.preprocessing:
        return Answers(known.num_classes)
    return ask(module, prepared, spec.name)


def opened_with(module: nn.Module, prepared: Preprocessing) -> tuple[nn.Module, tuple[str, ...]]:
    """`module` opened, in place: odd modules are plain ones, and what no image reaches is gone; notes on both."""
    example = example_of(prepared)
    with as_it_was(module):
        module, told = opened(module, example)
        return module, told + trimmed(module, example)


def example_of(prepared: Preprocessing) -> Tensor:
    """Two images, (2, C, H, W), of normal noise: the same ones each time."""
    return torch.randn(2, *prepared.input_shape, generator=torch.Generator().manual_seed(0))


def _check_allowed(name: str, allowed: Collection[str] | None) -> None:
    if allowed is not None and name not in MODELS and name not in allowed:
        raise InputError(
            f"The model '{name}' was neither registered nor named when the server started: it is not loaded."
        )


def _build(spec: ModelSpec, seed: int) -> Built:
    if spec.name.startswith(TIMM):
        return factories.build_timm(spec.name, pretrained=spec.weights is None, seed=seed)
    if spec.name not in MODELS and ":" in spec.name:
        return factories.build_your_own(spec.name, seed=seed)
    return factories.build_registered(spec.name, entry(spec.name).factory)


def _fill(built: Built, known: ModelEntry | None, spec: ModelSpec, seed: int, *, on_progress: Progress) -> _Weights:
    if spec.weights == RANDOM_WEIGHTS:
        note = f"Weights are random (seed {seed}): accuracy is chance, costs and speed are real."
        return _Weights(f"random, seed {seed}", notes=(note,))
    if spec.weights is not None:
        taken = _load_file(built, spec)
        return _Weights(taken.source, taken.sha256, notes=taken.notes, code=taken.code)
    if known is None:
        note = f"The weights are {built.weights_source}."
        return _Weights(built.weights_source, licence=_licence(built), notes=() if built.config else (note,))
    return _load_registered(built.module, known, on_progress)


def _licence(built: Built) -> str | None:
    value = built.config.get("license")
    return str(value) if value else None


def _load_file(built: Built, spec: ModelSpec) -> Taken:
    """The weights that the run names; an export of TDQ was made of the opened network."""

    def as_exported(module: nn.Module) -> nn.Module:
        return opened_with(module, _prepared(module.float().eval(), built, spec)[0])[0]

    known = MODELS.get(spec.name)
    assert spec.weights is not None, "asked for where a file is named"
    return load_weights(built.module, spec.weights, opened=as_exported, ignored=known.ignored_keys if known else ())


def _load_registered(module: nn.Module, known: ModelEntry, on_progress: Progress) -> _Weights:
    weights = known.weights
    if weights is None:
        raise InputError(
            f"The model '{known.name}' has no weights yet: train them with `tdq train`, or give a file or 'random' as "
            "'weights'."
        )
    path = registered_file(weights, on_progress=on_progress)
    sha256 = file_sha256(path)
    if not sha256.startswith(weights.sha256):
        raise InputError(
            f"The weights file '{path}' is not the registered one: its SHA-256 starts with {sha256[:8]}, not "
            f"{weights.sha256[:8]}; move it away, or pass it as 'weights'."
        )
    load_weights(module, str(path), opened=lambda module: module, ignored=known.ignored_keys)
    return _Weights(weights.source, sha256, weights.licence)


def registered_file(weights: WeightsEntry, *, on_progress: Progress = silent) -> Path:
    """The file of registered weights: shipped, cached by torch.hub, or downloaded into that cache."""
    if weights.shipped:
        path = WEIGHTS_FOLDER / weights.file
        if not path.exists():
            raise InputError(
                f"The weights file '{path}' is missing: run `tdq train`, or give a file or 'random' as 'weights'."
            )
        return path
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.file
    way_out = "put the file there, or give a file or 'random' as 'weights'"
    return fetch(_url(weights), path, sha256=weights.sha256, way_out=way_out, on_progress=on_progress)


def _url(weights: WeightsEntry) -> str:
    if weights.url:
        return weights.url
    from tdq_core.system.torchvision_compat import (
        torchvision,  # slow to import, and needed by torchvision's weights only
    )

    return torchvision.models.get_weight(weights.torchvision).url


def digest_of(code: str, prepared: Preprocessing, module: nn.Module) -> str:
    """SHA-256 of a model's code, preprocessing and state."""
    parts = [code, dataclasses.asdict(prepared), state_digest(module)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
