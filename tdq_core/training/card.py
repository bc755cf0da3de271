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
from tdq_core.evaluation.evaluate import outcomes
from tdq_core.graph.state import state_digest
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.stats.intervals import wilson
from tdq_core.system import machine
from tdq_core.system.files import file_sha256, write_atomically
from tdq_core.system.progress import Progress, silent
from tdq_core.training.fit import EpochTold, Fit
from tdq_core.training.recipe import Recipe


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
        The card: file, sha256, source, licence, recipe, history, scores with n and split, what half precision in the
        file changed, seconds, device, versions.
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
    path = _write(loaded, folder / f"{model}.safetensors", recipe)
    card = {
        "file": path.name,
        "sha256": file_sha256(path),
        "source": f"trained by `{command or f'tdq train {model} --data {data}'}`",
        "licence": "made by this project; the training images keep their own terms",
        "recipe": asdict(recipe),
        **_scores(loaded, splits, path),
        "history": done.history,
        "seconds": round(done.seconds, 1),
        "device": torch.cuda.get_device_name() if fit.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine.describe(),
    }
    write_atomically(folder / f"{model}.json", json.dumps(card, indent=1))
    if state:
        state.unlink(missing_ok=True)
    return card


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

    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: stored(value).contiguous() for name, value in loaded.module.state_dict().items()}
    safetensors.torch.save_file(state, path)
    path.chmod(0o644)  # safetensors writes private files; weights are for everybody
    return path


def _scores(loaded: LoadedModel, splits: dict[str, ImageSet], path: Path) -> dict[str, Any]:
    """Of the file as it is read again, and on how many images it decides otherwise than the weights as trained."""
    judged = [images for role, images in splits.items() if role != "train"]
    trained = [outcomes(loaded.module, images, loaded.preprocessing) for images in judged]
    loaded.module.load_state_dict(safetensors.torch.load_file(path))
    again = [outcomes(loaded.module, images, loaded.preprocessing) for images in judged]
    scores = {role: _score(right, splits[role]) for role, right in zip(("val", "eval"), again, strict=True)}
    changed = sum(int((a != b).sum()) for a, b in zip(trained, again, strict=True))
    storage = {"top1_as_trained": float(trained[1].mean()), "images_decided_otherwise": changed}
    return {"scores": scores, "storage": storage}


def _score(right: np.ndarray, images: ImageSet) -> dict[str, Any]:
    low, high = wilson(int(right.sum()), len(right))
    return {"split": images.split, "top1": float(right.mean()), "top1_low": low, "top1_high": high, "n": len(right)}
