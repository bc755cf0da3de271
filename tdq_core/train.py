"""Train a registered model: a short seeded recipe, best weights chosen on the validation split, never on test.

SGD with Nesterov momentum, one-cycle learning rate (Smith 2018), label smoothing, shifted crops, mirrored images
where a mirrored object is still the same object.
"""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from tdq_core import machine
from tdq_core.data.images import ImageSet
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.evaluate import outcomes
from tdq_core.files import file_sha256, write_atomically
from tdq_core.intervals import wilson
from tdq_core.models.attention import PlainAttention
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.progress import Progress, silent
from tdq_core.specs import RANDOM_WEIGHTS, RunSpec


@dataclass(frozen=True)
class Recipe:
    """What decides the trained weights, beside model and data; the defaults are those of the embedded digits model.

    The strong weight decay is on purpose: it leaves kernels of low rank, which compress well.

    Attributes:
        peak_lr: highest learning rate of the one cycle.
        shift: images are padded by this many pixels and cropped at random.
        mirror: half of the images are mirrored left to right.
    """

    epochs: int = 60
    batch: int = 64
    peak_lr: float = 0.05
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    shift: int = 1
    mirror: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.peak_lr <= 0:
            raise InputError(
                "Training needs at least 1 epoch, a batch of at least 1 and a positive learning rate. "
                f"Got {self.epochs}, {self.batch} and {self.peak_lr:g}."
            )


def train(model: str, data: str, *, recipe: Recipe, folder: Path, on_progress: Progress = silent) -> dict[str, Any]:
    """Train `model` on the train split of `data`; write `<model>.safetensors` and its card `<model>.json` to `folder`.

    Returns:
        The card: file, sha256, source, licence, recipe, scores with n and split, seconds, versions.
    """
    start = time.perf_counter()
    loaded = load_model(RunSpec(model, data, weights=RANDOM_WEIGHTS, seed=recipe.seed))
    if any(isinstance(m, PlainAttention) for m in loaded.module.modules()):
        raise InputError(
            f"The model '{model}' has attention, which TDQ takes apart: its weights would get other names. Train it "
            "with its own library and give the file with --weights."
        )
    splits = {
        role: open_images(data, role=role, samples=None, seed=recipe.seed, num_classes=loaded.num_classes)
        for role in ("train", "val", "eval")
    }
    best = _fit(loaded, splits, recipe, on_progress)
    loaded.module.load_state_dict(best)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model}.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in best.items()}, path)
    card = {
        "file": path.name,
        "sha256": file_sha256(path),
        "source": f"trained by `tdq train --model {model} --data {data}`",
        "licence": "made by this project; the training images keep their own terms",
        "recipe": asdict(recipe),
        "scores": {role: _score(loaded, images) for role, images in splits.items() if role != "train"},
        "seconds": round(time.perf_counter() - start, 1),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine.describe(),
    }
    write_atomically(folder / f"{model}.json", json.dumps(card, indent=1))
    return card


def _score(loaded: LoadedModel, images: ImageSet) -> dict[str, Any]:
    correct = outcomes(loaded.module, images, loaded.preprocessing)
    low, high = wilson(int(correct.sum()), len(correct))
    return {
        "split": images.split,
        "top1": float(correct.mean()),
        "top1_low": low,
        "top1_high": high,
        "n": len(correct),
    }


def _fit(loaded: LoadedModel, splits: dict[str, ImageSet], recipe: Recipe, on_progress: Progress) -> dict[str, Tensor]:
    """Train in place; the state of the epoch that is best on the validation split (the latest of equals)."""
    module = loaded.module.requires_grad_(True)
    inputs, labels = _tensors(loaded, splits["train"])
    draw = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=recipe.peak_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * -(-len(inputs) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=steps)
    best, best_right = {}, -1
    for epoch in range(1, recipe.epochs + 1):
        _epoch(module, (inputs, labels), (optimizer, schedule), recipe, draw)
        right = int(outcomes(module.eval(), splits["val"], loaded.preprocessing).sum())
        if right >= best_right:
            best, best_right = {k: v.detach().clone() for k, v in module.state_dict().items()}, right
        on_progress("train", epoch, recipe.epochs)
    module.requires_grad_(False)
    return best


def _tensors(loaded: LoadedModel, images: ImageSet) -> tuple[Tensor, Tensor]:
    """All images and labels at once: (n, C, H, W) float32 and (n,) int64."""
    inputs, labels = zip(*images.batches(loaded.preprocessing, batch_size=512))
    return torch.cat(inputs), torch.cat(labels)


def _epoch(
    module: nn.Module,
    examples: tuple[Tensor, Tensor],
    stepping: tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler],
    recipe: Recipe,
    draw: torch.Generator,
) -> None:
    inputs, labels = examples
    optimizer, schedule = stepping
    module.train()
    for chosen in torch.randperm(len(inputs), generator=draw).split(recipe.batch):
        if len(chosen) < 2:
            schedule.step()
            continue  # batch norm cannot take a batch of one; the next epoch draws this image elsewhere
        logits = module(_augmented(inputs[chosen], recipe, draw))
        loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()


def _augmented(images: Tensor, recipe: Recipe, draw: torch.Generator) -> Tensor:
    """Every image shifted by its own whole pixels (edges repeated), and mirrored for half of them."""
    n, _, height, width = images.shape
    if recipe.shift:
        padded = functional.pad(images, (recipe.shift,) * 4, mode="replicate")
        top, left = torch.randint(0, 2 * recipe.shift + 1, (2, n, 1), generator=draw)
        rows, columns = top + torch.arange(height), left + torch.arange(width)
        images = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.mirror:
        flipped = torch.rand(n, generator=draw) < 0.5
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    return images
