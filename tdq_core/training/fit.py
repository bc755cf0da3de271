"""The loop: epochs of steps, the best epoch on validation, and a file that a killed run goes on from."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tdq_core.data.images import ImageSet
from tdq_core.models.loading import LoadedModel
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.system.files import write_atomically
from tdq_core.system.progress import Progress
from tdq_core.training.augment import augmented, resized
from tdq_core.training.depth import begin_shallow, set_depth, share_running
from tdq_core.training.recipe import Recipe
from tdq_core.training.state import load_state, packed

SECONDS_BETWEEN_STATES = 60.0
"""A killed run loses at most this much work."""

EpochTold = Callable[[dict[str, Any], float], None]
"""After an epoch: its entry of the history (epoch, size, depth, loss, val_top1, seconds), and the seconds left."""


@dataclass
class Done:
    """What is known beside the weights, and carried over a kill.

    Attributes:
        step: steps done.
        order: of the images in the epoch under way.
        draw: state of the generator that images are drawn and moved with.
        loss: sum of the losses of the epoch under way.
        seconds: of all sessions that trained.
        history: one entry an epoch: epoch, size, depth, loss, val_top1 (null before all is full), seconds.
        best_right: validation images that the best epoch classifies right; -1 before there is one.
    """

    step: int = 0
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    draw: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    loss: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_right: int = -1
    best: dict[str, Tensor] = field(default_factory=dict)


class Fit:
    """Model, optimizer and images on their device.

    Args:
        key: names the run; a state of another key is not taken up.
        path: of the state; None keeps none.
    """

    def __init__(
        self, loaded: LoadedModel, train: ImageSet, val: ImageSet, recipe: Recipe, key: str, path: Path | None
    ):
        self.recipe, self.val, self.key, self.path = recipe, val, key, path
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.preprocessing = loaded.preprocessing
        self.module = loaded.module.requires_grad_(True).to(self.device)
        if recipe.depths:
            begin_shallow(self.module, recipe.depths[0][0])
        if recipe.bf16:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs, labels = zip(*train.batches(loaded.preprocessing, batch_size=512), strict=True)
        self.inputs, self.labels = torch.cat(inputs).to(self.device), torch.cat(labels).to(self.device)
        self.draw = torch.Generator().manual_seed(recipe.seed)
        self.optimizer = torch.optim.SGD(
            self.module.parameters(), lr=recipe.peak_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
        self.steps_an_epoch = -(-len(self.inputs) // recipe.batch)
        self.steps = recipe.epochs * self.steps_an_epoch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, recipe.peak_lr, total_steps=self.steps)
        self.done = Done()

    def run(self, on_progress: Progress, on_epoch: EpochTold) -> Done:
        """Train what is left to be trained; afterwards the module holds the best weights, in eval mode, on the CPU."""
        self._take_up()
        saved = start = time.perf_counter()
        before = self.done.seconds
        while self.done.step < self.steps:
            self._step()
            now = time.perf_counter()
            self.done.seconds = before + now - start
            on_progress("train", self.done.step, self.steps)
            if self.done.step % self.steps_an_epoch == 0:
                on_epoch(self._close_epoch(), self._seconds_left())
            if self.path and now - saved >= SECONDS_BETWEEN_STATES:
                self._keep()
                saved = now
        self.module.load_state_dict(self.done.best)
        self.module.eval().requires_grad_(False).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return self.done

    def _step(self) -> None:
        epoch, at = divmod(self.done.step, self.steps_an_epoch)
        if at == 0:
            self.done.order = torch.randperm(len(self.inputs), generator=self.draw)
        chosen = self.done.order[at * self.recipe.batch : (at + 1) * self.recipe.batch]
        if len(chosen) > 1:  # batch norm cannot take a batch of one; the next epoch draws this image elsewhere
            self._learn(chosen.to(self.device), epoch)
        self.schedule.step()
        self.done.step += 1

    def _learn(self, chosen: Tensor, epoch: int) -> None:
        self.module.train()
        set_depth(self.module, self.recipe.depth(epoch))
        images = resized(augmented(self.inputs[chosen], self.recipe, self.draw), self.recipe.size(epoch))
        with self._autocast():
            logits = self.module(images)
        loss = functional.cross_entropy(
            logits.float(), self.labels[chosen], label_smoothing=self.recipe.label_smoothing
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.done.loss += float(loss.detach())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.recipe.bf16)

    def _close_epoch(self) -> dict[str, Any]:
        """Judge the epoch on the validation images, where size and depth were full; the latest of equals is best."""
        epoch = self.done.step // self.steps_an_epoch
        size, depth = self.recipe.size(epoch - 1), self.recipe.depth(epoch - 1)
        loss = self.done.loss / self.steps_an_epoch
        entry: dict[str, Any] = {"epoch": epoch, "size": size, "depth": depth, "loss": loss, "val_top1": None}
        if size is None and depth is None:
            right = int(outcomes(self._predict, self.val, self.preprocessing).sum())
            entry["val_top1"] = right / len(self.val)
            if right >= self.done.best_right:
                self.done.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
                self.done.best_right = right
        self.done.loss = 0.0
        self.done.history.append(entry | {"seconds": round(self.done.seconds, 1)})
        return self.done.history[-1]

    def _seconds_left(self) -> float:
        """At the pace so far, if work goes with pixels and with blocks that run."""
        done = self.done.step // self.steps_an_epoch
        work = [self._work(epoch) for epoch in range(self.recipe.epochs)]
        return self.done.seconds * sum(work[done:]) / sum(work[:done])

    def _work(self, epoch: int) -> float:
        """Of an epoch, in epochs at full size and depth."""
        full = min(self.inputs.shape[2:])
        pixels = self.recipe.size(epoch) or full
        return (pixels / full) ** 2 * share_running(self.module, self.recipe.depth(epoch))

    def _predict(self, images: Tensor) -> Tensor:
        return self.module.eval()(images.to(self.device)).cpu()

    def _parts(self) -> dict[str, Any]:
        return {"module": self.module, "optimizer": self.optimizer, "schedule": self.schedule}

    def _keep(self) -> None:
        assert self.path, "asked only where there is a path"
        self.done.draw = self.draw.get_state()
        states = {name: part.state_dict() for name, part in self._parts().items()}
        write_atomically(self.path, packed({"key": self.key, **states, "done": vars(self.done)}))

    def _take_up(self) -> None:
        if not self.path or not (held := load_state(self.path, self.key, self.device)):
            return
        for name, part in self._parts().items():
            part.load_state_dict(held[name])
        self.done = Done(**held["done"])
        self.draw.set_state(self.done.draw.cpu())
        self.done.order = self.done.order.cpu()
