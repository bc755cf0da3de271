"""How the layers of a network are called: in which order, how often, and whether its images can be told apart."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from tdq_core.graph.modules import layers
from tdq_core.graph.observe import Call, watch

SAME, NOISE = 1e-2, 1e-5
"""Rows of the same images in batches of two sizes differ by less than this share of what other images differ by, or of
what they are: float32 sums in another order make them differ at all."""


def order_of_calls(model: nn.Module, example: Tensor) -> list[str]:
    """Names of the convolutions and linear layers in the order in which they are called, once for each call."""
    order: list[str] = []
    _run(model, layers(model), example, lambda call: order.append(call.name))
    return order


def output_shapes(model: nn.Module, names: Iterable[str], example: Tensor) -> dict[str, tuple[torch.Size, ...]]:
    """By module, the shape of its output in each of its calls when `example` (N, C, H, W) passes."""
    found: dict[str, list[torch.Size]] = {name: [] for name in names}
    _run(model, found, example, lambda call: found[call.name].append(call.output.shape))
    return {name: tuple(shapes) for name, shapes in found.items()}


def why_unpaired(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, str]:
    """Of the modules whose outputs cannot be cut into those of each image: why, by name.

    All but the last of `images` are passed, and then all: calls must be as many, and each output must begin with the
    rows that it had before. A single image is never unpaired.
    """
    names = list(names)
    if len(images) < 2:
        return {}
    few, all_ = _outputs(model, names, images[:-1]), _outputs(model, names, images)
    reasons = {}
    for name in names:
        if len(few[name]) != len(all_[name]):
            reasons[name] = (
                f"it is called {len(few[name])} times for {len(images) - 1} images and {len(all_[name])} times for "
                f"{len(images)}, so that its calls cannot be paired with those of the original network"
            )
        elif not all(_begins_with(*pair, len(images)) for pair in zip(all_[name], few[name], strict=True)):
            reasons[name] = "its output does not hold one image after the other, so that images cannot be told apart"
    return reasons


def _begins_with(output: Tensor, fewer: Tensor, images: int) -> bool:
    """Whether the rows of `output`, of all `images`, begin with those of all but the last."""
    if output.shape[1:] != fewer.shape[1:] or len(output) * (images - 1) != len(fewer) * images:
        return False
    apart, others = (float((rows - fewer).norm()) for rows in (output[: len(fewer)], output[-len(fewer) :]))
    return not apart > SAME * others + NOISE * float(fewer.norm())  # values that are not finite tell nothing


def _outputs(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    _run(model, found, images, lambda call: found[call.name].append(call.output.clone()))
    return found


def _run(model: nn.Module, names: Iterable[str], images: Tensor, see: Callable[[Call], None]) -> None:
    with watch(model, names, see), torch.no_grad():
        model(images)
