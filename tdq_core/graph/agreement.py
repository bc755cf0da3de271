"""How far the logits of a rewritten network are from those of the model it stands for: the proof of a rewriting."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from tdq_core.errors import RunFailed

Predict = Callable[[Tensor], Tensor]

EXPORT_TOLERANCE = 1e-3
"""Of the spread of the logits: float32 sums in another order stay near 1e-5, a wrong graph is of order 1."""

REALISATIONS = 2.0
"""Two realisations of the same rounding are at most this many times as far apart as rounding moves the logits."""


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


def agreement(model: Predict, predict: Predict, example: Tensor) -> Agreement:
    """Compare `predict` with `model` on the batches of `check_batches`; RunFailed where the model itself overflows."""
    expected = logits_of(model, example)
    if not expected.isfinite().all():
        raise RunFailed("The logits of the model itself are not finite on the example batch: its values overflow.")
    return compare(expected, logits_of(predict, example))


def logits_of(predict: Predict, example: Tensor) -> Tensor:
    """The answers (N, classes) float32 on the batches of `check_batches`, one batch after the other."""
    with torch.inference_mode():
        return torch.cat([predict(batch).float() for batch in check_batches(example)])


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


def require_same(
    expected: Predict, got: Predict, example: Tensor, *, what: str, way_out: str
) -> dict[str, float | int]:
    """The agreement of two that must be the same function; RunFailed where `what` (the start of a sentence about
    `got`) is not, with the `way_out`."""
    check = agreement(expected, got, example)
    if not check.same_function:
        raise RunFailed(f"{what}: logits differ by up to {check.relative_diff:.2g} of their spread; {way_out}.")
    return check.to_dict()


def require_rounding(
    floats: Predict, by_operator: Predict, got: Predict, example: Tensor, *, way_out: str
) -> dict[str, float]:
    """How far `got` is from the same rounding done operator by operator, and how far that is from no rounding at all.

    Both as root mean squares, as shares of the largest spread of an image's logits. A sum in another order moves a
    value across the middle of two steps here and there, and deep networks carry that on until two right realisations
    differ like two draws of the same noise: by sqrt(2) times what rounding costs, which REALISATIONS bounds.

    RunFailed: `got` is further away than that.
    """
    exact, expected, found = (logits_of(predict, example) for predict in (floats, by_operator, got))
    spread = max(float((exact.amax(dim=1) - exact.amin(dim=1)).max()), torch.finfo(torch.float32).tiny)
    cost, apart = (float((each - expected).square().mean().sqrt()) / spread for each in (exact, found))
    if not apart <= max(EXPORT_TOLERANCE, REALISATIONS * cost):
        raise RunFailed(
            f"The kernels give other logits than the same rounding operator by operator: {apart:.2g} of their spread "
            f"apart, where rounding itself costs {cost:.2g}; {way_out}."
        )
    return {"apart": apart, "rounding": cost}


def lossy_check(model: Predict, predict: Predict, example: Tensor) -> dict[str, float | int]:
    """The agreement of a realisation that is meant to lose something; RunFailed where its logits are not finite."""
    check = agreement(model, predict, example)
    if check.max_abs_diff == float("inf"):
        raise RunFailed(
            "The logits at the lower precision are not finite on the example batch: a value inside the model "
            "overflows there though the float32 model is finite."
        )
    return check.to_dict()
