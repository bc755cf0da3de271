"""How far the logits of a rewritten network are from those of the model it stands for: the proof of a rewriting."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from tdq_core.errors import RunFailed

Predict = Callable[[Tensor], Tensor]

EXPORT_TOLERANCE = 1e-3
"""Of the spread of the logits: float32 sums in another order stay near 1e-5, a wrong graph is of order 1."""


@dataclass(frozen=True)
class Agreement:
    """Two sets of logits side by side.

    Attributes:
        max_abs_diff: the largest absolute difference between two logits.
        relative_diff: the same as a share of the largest spread (max - min) of an image's reference logits.
        top1_agreement: share of the images with the same top-1 class.
        images: how many images were compared.
    """

    max_abs_diff: float
    relative_diff: float
    top1_agreement: float
    images: int

    @property
    def same_function(self) -> bool:
        """Equal but for rounding; images whose best two classes are further apart then have the same top-1."""
        return self.relative_diff <= EXPORT_TOLERANCE

    def to_dict(self) -> dict[str, float | int]:
        return asdict(self)


def check_batches(example: Tensor) -> tuple[Tensor, Tensor]:
    """The example, and mirrored images in a batch of another size (a batch size frozen by an export shows)."""
    return example, torch.cat([example.flip(-1), example[:1]])


def agreement(model: nn.Module, predict: Predict, example: Tensor) -> Agreement:
    """Compare `predict` with `model` on the batches of `check_batches`; RunFailed where the model itself overflows."""
    batches = check_batches(example)
    with torch.inference_mode():
        expected = torch.cat([model(batch).float() for batch in batches])
    if not expected.isfinite().all():
        raise RunFailed("The logits of the model itself are not finite on the example batch: its values overflow.")
    return compare(expected, torch.cat([predict(batch) for batch in batches]))


def compare(expected: Tensor, got: Tensor) -> Agreement:
    """Agreement of two sets of logits, (N, classes) each; where `got` is not finite the differences are infinite."""
    diff = (expected - got).abs().max().item() if got.isfinite().all() else float("inf")
    spread = (expected.amax(dim=1) - expected.amin(dim=1)).max().item()
    return Agreement(
        max_abs_diff=diff,
        relative_diff=0.0 if diff == 0 else diff / max(spread, torch.finfo(torch.float32).tiny),
        top1_agreement=(expected.argmax(dim=1) == got.argmax(dim=1)).float().mean().item(),
        images=len(expected),
    )


def lossy_check(model: nn.Module, predict: Predict, example: Tensor) -> dict[str, float | int]:
    """The agreement of a realisation that is meant to lose something; RunFailed where its logits are not finite."""
    check = agreement(model, predict, example)
    if check.max_abs_diff == float("inf"):
        raise RunFailed(
            "The logits at the lower precision are not finite on the example batch: a value inside the model "
            "overflows there though the float32 model is finite."
        )
    return check.to_dict()
