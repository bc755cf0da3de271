"""From a model's name to weights in a file, with a card that tells how they came about."""

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from tdq_core.data.images import ImageSet
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.graph.state import state_digest
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.stats.intervals import wilson
from tdq_core.system import machine
from tdq_core.system.files import file_sha256, write_atomically
from tdq_core.system.progress import Progress, silent
from tdq_core.training.fit import EpochTold, Fit
from tdq_core.training.recipe import Recipe

JUDGED = ("val", "eval")
"""Splits that a card has scores of."""
Right = dict[str, np.ndarray]
"""By split whether each image is classified right: bool of shape (n,)."""


def train(
    model: str,
    data: str,
    *,
    recipe: Recipe,
    folder: Path,
    state_folder: Path | None = None,
    command: str = "",
    on_progress: Progress = silent,
    on_epoch: EpochTold = lambda entry, left: None,
) -> dict[str, Any]:
    """Train `model` on the train split of `data`; write `<model>.safetensors` and its card `<model>.json` to `folder`.

    Args:
        state_folder: keeps the state of the run, so that the same call goes on after a kill; None keeps none.
        command: that the card names as its source.

    Returns:
        The card, as `write_card` writes it; also what half precision in the file changed (`storage`).
    """
    loaded = load_model(ModelSpec(model, RANDOM_WEIGHTS), seed=recipe.seed)
    if loaded.renamed:
        raise InputError(
            f"The model '{model}' has modules in whose place TDQ puts plain layers, such as attention: its weights "
            "would get other names. Train it with its own library and give the file as 'weights'."
        )
    splits = {
        role: open_images(data, role=role, samples=None, seed=recipe.seed, num_classes=loaded.num_classes)
        for role in ("train", "val", "eval")
    }
    state = state_folder / f"{model}.pt" if state_folder else None
    fit = Fit(loaded, splits["train"], splits["val"], recipe, _key(loaded, splits, recipe), state)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # dropout draws from the process' generator
        done = fit.run(on_progress, on_epoch)
    trained = {
        "recipe": asdict(recipe),
        "history": done.history,
        "seconds": round(done.seconds, 1),
        **_here(torch.cuda.get_device_name() if fit.device == "cuda" else "cpu"),
    }
    judged = {role: splits[role] for role in JUDGED}
    before = right_of(loaded, judged)
    path = _write(loaded, folder / f"{model}.safetensors", recipe)
    after = right_of_file(path, loaded, judged)
    told = {"storage": _storage(before, after), **trained}
    card = write_card(path, after, judged, command or f"tdq train {model} --data {data}", told)
    if state:
        state.unlink(missing_ok=True)
    return card


def right_of(loaded: LoadedModel, judged: dict[str, ImageSet]) -> Right:
    """How the module classifies the images that judge it."""
    return {role: outcomes(loaded.module, images, loaded.preprocessing) for role, images in judged.items()}


def right_of_file(path: Path, loaded: LoadedModel, judged: dict[str, ImageSet]) -> Right:
    """The same of the file as it is read again, which `loaded` holds afterwards."""
    loaded.module.load_state_dict(safetensors.torch.load_file(path))
    return right_of(loaded, judged)


def write_card(
    path: Path, right: Right, judged: dict[str, ImageSet], command: str, trained: dict[str, Any]
) -> dict[str, Any]:
    """Write the card of the weights in `path` beside them; they may have been trained elsewhere.

    Args:
        right: of the file, on `judged`, found on this machine.
        trained: what the training tells of itself: recipe, history, seconds, device, threads, versions, storage.

    Returns:
        The card: file, sha256, source, licence, scores with n and split, where they were measured (`scored_on`; the
        other names of a machine are those of the training), and all of `trained`.
    """
    card = {
        "file": path.name,
        "sha256": file_sha256(path),
        "source": f"trained by `{command}`",
        "licence": "made by this project; the training images keep their own terms",
        "scores": {role: _score(right[role], images) for role, images in judged.items()},
        "scored_on": _here("cpu"),
        **trained,
    }
    write_atomically(path.with_suffix(".json"), json.dumps(card, indent=1))
    return card


def _here(device: str) -> dict[str, Any]:
    """This machine, now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"device": device, "threads": torch.get_num_threads(), "time": now, **machine.describe()}


def _key(loaded: LoadedModel, splits: dict[str, ImageSet], recipe: Recipe) -> str:
    parts = (
        loaded.digest,
        state_digest(loaded.module),
        splits["train"].digest,
        splits["val"].digest,
        json.dumps(asdict(recipe), sort_keys=True),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write(loaded: LoadedModel, path: Path, recipe: Recipe) -> Path:
    """Kernels in half precision where the recipe says so; vectors are few, and batch norm's are delicate."""

    def stored(value: Tensor) -> Tensor:
        return value.half() if recipe.fp16_file and value.ndim > 1 else value

    state = {name: stored(value).contiguous() for name, value in loaded.module.state_dict().items()}
    return write_atomically(path, safetensors.torch.save(state))


def _storage(before: Right, after: Right) -> dict[str, Any]:
    """On how many images the file decides otherwise than the weights as they were trained."""
    changed = sum(int((before[role] != after[role]).sum()) for role in after)
    return {"top1_as_trained": float(before["eval"].mean()), "images_decided_otherwise": changed}


def _score(right: np.ndarray, images: ImageSet) -> dict[str, Any]:
    low, high = wilson(int(right.sum()), len(right))
    return {"split": images.split, "top1": float(right.mean()), "top1_low": low, "top1_high": high, "n": len(right)}
