"""How the layers of a network are called: in which order, how often, and whether its images can be told apart."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tdq_core.graph.observe import Call, watch
from tdq_core.graph.trace import trace

SAME, NOISE = 1e-2, 1e-5
"""Rows of an image that stands elsewhere in its batch are the same up to this share of what makes images differ, or of
what they are: float32 sums in another order make them differ at all."""


class Layout(NamedTuple):
    """Where the images lie in the output of one call.

    Attributes:
        images: the dimension that grows with them; 0 also where none does.
        places: rows of one entry of that dimension: height x width of a convolution's output, tokens.
    """

    images: int
    places: int


def layouts(model: nn.Module, names: Iterable[str], image: Tensor) -> dict[str, tuple[Layout, ...]]:
    """By convolution or linear layer, the layout of each of its calls; `image` is (1, C, H, W)."""
    names = list(names)
    two, three = (trace(model, names, image.expand(n, -1, -1, -1)).sites for n in (2, 3))
    larger = {(site.name, site.index): site.output for site in three}
    found: dict[str, list[Layout]] = {name: [] for name in names}
    for site in two:
        convolution = isinstance(model.get_submodule(site.name), nn.Conv2d)
        found[site.name].append(_layout(site.output, larger.get((site.name, site.index)), convolution))
    return {name: tuple(calls) for name, calls in found.items()}


def _layout(two: torch.Size, three: torch.Size | None, convolution: bool) -> Layout:
    """From the shapes of a call for two images and for three."""
    dims = range(len(two)) if three and len(three) == len(two) else ()
    images = next((d for d in dims if three and three[d] * 2 == two[d] * 3), 0)
    channels = 1 if convolution else len(two) - 1
    return Layout(images, math.prod(n for d, n in enumerate(two) if d not in (images, channels)))


def images_first(values: Tensor, dimension: int) -> Tensor:
    """`values` with the images, which lie in `dimension`, in the first one."""
    return values.movedim(dimension, 0)


def why_unpaired(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, str]:
    """Of the modules whose outputs cannot be cut into those of each image: why, by name.

    With one image less there must be as many calls, each with its share of the rows; and when the last image comes
    first, its rows must do so too. A single image is never unpaired.
    """
    names = list(names)
    if len(images) < 2:
        return {}
    layout = layouts(model, names, images[:1])
    few, all_, turned = (_outputs(model, layout, x) for x in (images[:-1], images, images.roll(1, 0)))
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


def _outputs(model: nn.Module, layout: dict[str, tuple[Layout, ...]], images: Tensor) -> dict[str, list[Tensor]]:
    """By layer the outputs of its calls, images first; calls that the layout does not know keep theirs."""
    found: dict[str, list[Tensor]] = {name: [] for name in layout}

    def keep(call: Call) -> None:
        known = layout[call.name][call.index :]
        found[call.name].append(images_first(call.output, known[0].images if known else 0).clone())

    _run(model, found, images, keep)
    return found


def _run(model: nn.Module, names: Iterable[str], images: Tensor, see: Callable[[Call], None]) -> None:
    with watch(model, names, see), torch.no_grad():
        model(images)
