"""Distillation: the student is trained to answer as the teacher does, on images that nobody has labelled."""

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.compression.condition.batch_norm import counted_anew
from tdq_core.compression.decompose.factors import Details
from tdq_core.compression.finetune.augment import augmented
from tdq_core.compression.finetune.checkpoint import State, key_of, resume, save
from tdq_core.compression.finetune.features import distance, shared_norms, watched
from tdq_core.compression.finetune.rounding import InRounding
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.data.images import PIXELS_A_BATCH
from tdq_core.errors import InputError
from tdq_core.graph.observe import Batches
from tdq_core.system.progress import Progress, silent

EVERY = 50
"""Steps between two checkpoints."""

TOLD = 10
"""The first and the last loss are means over one step in this many, from either end."""

AT_REST = 4
"""Times the images of a step pass at once where nothing is learnt."""

SMALLEST_BATCH = 16
"""Below this the statistics of a batch are no use to batch norm, however large the images."""


@dataclass(frozen=True)
class Recipe:
    """What decides the result beside the models and the images; chosen on CIFAR-10 with 1,000 images.

    Attributes:
        batch: images a step at 32 px and below; fewer above, as they fit.
        peak_lr: of Adam; it rises over the first `warm_up` of the steps and falls to 0 along a cosine.
        temperature: logits are divided by it before the softmax of either side.
        features: weight of the distance at the batch norms beside the divergence of the logits.
    """

    steps: int
    seed: int
    batch: int = 64
    peak_lr: float = 2e-3
    warm_up: float = 0.1
    temperature: float = 3.0
    features: float = 20.0

    def lr(self, step: int) -> float:
        """Of the step with this number, from 0."""
        rising = max(1, round(self.steps * self.warm_up))
        if step < rising:
            return self.peak_lr * (step + 1) / rising
        return self.peak_lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / (self.steps - rising)))


class Tuning(Details, frozen=True):
    """What fine-tuning tells of itself: its recipe (see `Recipe`), how many images it saw, the mean losses over the
    first and the last tenth of the steps, whether the rounding was in the loop, and the device."""

    steps: int
    seed: int
    batch: int
    peak_lr: float
    warm_up: float
    temperature: float
    features: float
    images: int
    first_loss: float
    last_loss: float
    device: str
    quantization_aware: bool


def distil(
    student: nn.Module,
    teacher: nn.Module,
    batches: Batches,
    *,
    steps: int,
    seed: int,
    scheme: Scheme | None = None,
    on_progress: Progress = silent,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, Tuning]:
    """A copy of `student`, trained to give the logits and features of `teacher`: same structure, eval mode, float32.

    Every step draws a batch of the images, moves and mirrors them, and asks the teacher anew. What a step draws depends
    on the seed and its number alone; on one CPU, with the same number of threads, the result is the same bit for bit.

    Args:
        batches: gives a fresh pass over unlabelled, preprocessed images (N, C, H, W) float32; all are held in memory.
        scheme: train for being rounded so: the loop computes on the grids of the quantizers.
        checkpoint: a file that holds the state every so many steps; a run of the same inputs goes on from it. It is
            removed at the end.

    Returns:
        The model, and what is told of the training.

    InputError: no steps, or fewer than two images.
    """
    if steps < 1:
        raise InputError(f"Fine-tuning needs at least 1 step. Got {steps}: leave it out for a model without it.")
    images = torch.cat([batch.detach().cpu() for batch in batches()] or [torch.empty(0, 1, 1, 1)])
    if len(images) < 2:
        raise InputError(f"Fine-tuning needs at least 2 images without labels. Got {len(images)}: see 'calib'.")
    recipe = Recipe(steps, seed, batch=_batch(images))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():  # dropout draws from the process' generator, which is given back as it was
        trainer = _Trainer(student, teacher, images, recipe, scheme, device)
        losses = trainer.run(checkpoint, on_progress)
    few = max(1, steps // TOLD)
    first, last = (sum(some) / len(some) for some in (losses[:few], losses[-few:]))
    told = Tuning(
        **asdict(recipe), images=len(images), first_loss=first, last_loss=last, device=device,
        quantization_aware=scheme is not None,
    )  # fmt: skip
    return trainer.finish(), told


def pieces(images: Tensor, size: int) -> Sequence[Tensor]:
    """Of `size` images each, the last of half to one and a half as many: where each piece counts as much as another, a
    few images that are left over would count as much as many."""
    count = max(1, round(len(images) / size))
    return images.tensor_split([size * place for place in range(1, count)])


def _batch(images: Tensor) -> int:
    """Images a step: as many pixels as a batch of evaluation has, never more than there are images."""
    fitting = PIXELS_A_BATCH // (images.shape[2] * images.shape[3])
    return min(len(images), Recipe.batch, max(SMALLEST_BATCH, fitting))


class _Trainer:
    """Student, teacher and optimizer on their device."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, images: Tensor, recipe: Recipe, scheme: Scheme | None, device: str
    ) -> None:
        self.images, self.recipe, self.device = images, recipe, device
        self.teacher, self.student = (self._copied(model) for model in (teacher, student))
        self.names = shared_norms(self.student, self.teacher)
        self.rounding = InRounding(self.student, scheme, images[:2].to(device)) if scheme else None
        self.key = key_of(student, teacher, images, scheme, recipe)
        self.frozen = {name: p.requires_grad for name, p in student.named_parameters()}
        floats = [p.requires_grad_(True) for p in self.student.parameters() if p.is_floating_point()]
        self.optimizer = torch.optim.Adam(floats, lr=recipe.peak_lr)

    def run(self, checkpoint: Path | None, on_progress: Progress) -> list[float]:
        """All steps that are still to be done; the losses of all steps."""
        state = resume(checkpoint, self.key, self.student, self.optimizer) if checkpoint else State()
        if self.rounding:
            self.rounding.ranges = state.ranges
        self.student.train()
        while state.step < self.recipe.steps:
            state.losses.append(self._step(state.step))
            state.step += 1
            on_progress("fine-tune", state.step, self.recipe.steps)
            if checkpoint and state.step % EVERY == 0:
                save(checkpoint, self.key, self.student, self.optimizer, state)
        if checkpoint:
            checkpoint.unlink(missing_ok=True)
        return state.losses

    def finish(self) -> nn.Module:
        """The trained student, at rest; its batch norms hold what the images as they are make of its weights as they
        are. Those of the last steps were of single batches, moved, on weights that have changed since."""
        self.student.zero_grad(set_to_none=True)
        forward = self.rounding or self.student
        with torch.no_grad(), counted_anew(self.student):
            for images in pieces(self.images, AT_REST * self.recipe.batch):
                forward(images.to(self.device, memory_format=torch.channels_last))
        self.student.requires_grad_(False).cpu()
        return self.student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def _copied(self, model: nn.Module) -> nn.Module:
        copied = copy.deepcopy(model).eval().requires_grad_(False)
        copied.to(self.device)
        return copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _step(self, step: int) -> float:
        draw = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        torch.manual_seed(self.recipe.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr(step)
        loss = self._loss(self._drawn(draw))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _drawn(self, draw: torch.Generator) -> Tensor:
        chosen = torch.randperm(len(self.images), generator=draw)[: self.recipe.batch]
        return augmented(self.images[chosen], draw).to(self.device, memory_format=torch.channels_last)

    def _loss(self, images: Tensor) -> Tensor:
        """Kullback-Leibler divergence of the softened answers times T^2, and the distance of the features."""
        with torch.no_grad(), watched(self.teacher, self.names) as wanted:
            target = self.teacher(images)
        with watched(self.student, self.names) as made:
            logits = self.rounding(images) if self.rounding else self.student(images)
        warm = self.recipe.temperature
        said, wished = (functional.log_softmax(z / warm, 1) for z in (logits, target))
        divergence = functional.kl_div(said, wished, reduction="batchmean", log_target=True)
        return divergence * warm**2 + self.recipe.features * distance(made, wanted)
