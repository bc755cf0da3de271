"""From a run's model and weights to a module that is ready to be measured."""

import dataclasses
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tdq_core.errors import InputError
from tdq_core.models import factories, preprocess
from tdq_core.models.factories import TIMM, Built
from tdq_core.models.opening import opened
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER, ModelEntry, WeightsEntry, entry
from tdq_core.models.weights_file import load_into, read_state_dict, state_digest
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.specs.preprocessing import Preprocessing
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
    renamed: bool = False


@dataclass(frozen=True)
class _Weights:
    source: str
    sha256: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()


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
    with torch.random.fork_rng(devices=[]):  # factories draw starting weights: seeded, and nobody else's draws change
        torch.manual_seed(seed)
        built = _build(spec, seed)
    known = MODELS.get(spec.name)
    weights = _fill(built, known, spec, seed, on_progress=on_progress)
    module = built.module.float().eval().requires_grad_(False)
    if known:
        prepared, notes = preprocess.overridden(known.preprocessing, spec)
    else:
        prepared, notes = _own_preprocessing(built, spec)
    untouched = known is not None and prepared == known.preprocessing
    classes = known.num_classes if known and untouched else _probed(module, prepared, spec)
    digest, names = digest_of(built.code, prepared, module), set(module.state_dict())
    module, told = opened(module, example_of(prepared))
    return LoadedModel(spec.name, module, prepared, classes, weights.source, weights.sha256, weights.licence, digest,
                       weights.notes + notes + told, names != set(module.state_dict()))  # fmt: skip


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
        path = Path(spec.weights)
        _load_file(built.module, path, known)
        return _Weights(path.name, file_sha256(path))
    if known is None:
        note = f"The weights are {built.weights_source}."
        return _Weights(built.weights_source, licence=_licence(built), notes=() if built.config else (note,))
    return _load_registered(built.module, known, on_progress)


def _licence(built: Built) -> str | None:
    value = built.config.get("license")
    return str(value) if value else None


def _load_file(module: nn.Module, path: Path, known: ModelEntry | None) -> None:
    ignored = known.ignored_keys if known else ()
    state = {name: value for name, value in read_state_dict(path).items() if not name.startswith(ignored)}
    load_into(module, state, str(path))


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
    _load_file(module, path, known)
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


def _own_preprocessing(built: Built, spec: ModelSpec) -> preprocess.Noted:
    if not built.config:
        return preprocess.by_hand(spec, factories.first_conv_channels(built.module))
    own, notes = preprocess.from_config(built.config)
    changed, more = preprocess.overridden(own, spec)
    return changed, notes + more


def _probed(module: nn.Module, prepared: Preprocessing, spec: ModelSpec) -> int:
    return factories.probe_classes(module, prepared.input_shape, spec.name)


def digest_of(code: str, prepared: Preprocessing, module: nn.Module) -> str:
    """SHA-256 of a model's code, preprocessing and state."""
    parts = [code, dataclasses.asdict(prepared), state_digest(module)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
