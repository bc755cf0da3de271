"""How the layers of a network are called: in which order, how often, and whether its images can be told apart."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from tdq_core.graph.modules import layers
from tdq_core.graph.observe import Call, watch

SAME, NOISE = 1e-2, 1e-5
"""Rows of an image that stands elsewhere in its batch are the same up to this share of what makes images differ, or of
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

    With one image less there must be as many calls, each with its share of the rows; and when the last image comes
    first, its rows must do so too. A single image is never unpaired.
    """
    names = list(names)
    if len(images) < 2:
        return {}
    few, all_, turned = (_outputs(model, names, x) for x in (images[:-1], images, images.roll(1, 0)))
    reasons = {}
    for name in names:
        if len(few[name]) != len(all_[name]):
            reasons[name] = (
                f"it is called {len(few[name])} times for {len(images) - 1} images and {len(all_[name])} times for "
                f"{len(images)}, so that its calls cannot be paired with those of the original network"
            )
        elif not all(_by_image(*calls, len(images)) for calls in zip(few[name], all_[name], turned[name], strict=True)):
            reasons[name] = "its output does not hold one image after the other, so that images cannot be told apart"
    return reasons


def depends_on_batch(model: nn.Module, images: Tensor) -> bool:
    """Whether `model` answers (N, classes) otherwise for `images` (N, C, H, W) when the last of them is not there."""
    with torch.no_grad():
        return not same_rows(model(images), model(images[:-1]) if len(images) > 1 else model(images))


def same_rows(all_: Tensor, few: Tensor) -> bool:
    """Whether the first rows of `all_` (N, classes) are `few` (fewer of them), but for rounding."""
    apart, differ = (float((rows - few).norm()) for rows in (all_[: len(few)], all_[-len(few) :]))
    return not apart > SAME * differ + NOISE * float(few.norm())


def _by_image(few: Tensor, all_: Tensor, turned: Tensor, images: int) -> bool:
    """Whether rows lie image by image in the outputs of all images but the last, of `images`, and of these turned."""
    if few.shape[1:] != all_.shape[1:] or len(all_) * (images - 1) != len(few) * images:
        return False
    apart, differ = (float((rows - turned).norm()) for rows in (all_.roll(len(all_) // images, 0), all_))
    return not apart > SAME * differ + NOISE * float(all_.norm())  # values that are not finite tell nothing


def _outputs(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    _run(model, found, images, lambda call: found[call.name].append(call.output.clone()))
    return found


def _run(model: nn.Module, names: Iterable[str], images: Tensor, see: Callable[[Call], None]) -> None:
    with watch(model, names, see), torch.no_grad():
        model(images)
