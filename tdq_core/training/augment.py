"""Training images as a recipe wants them: moved, mirrored, made smaller."""

import torch
from torch import Tensor
from torch.nn import functional

from tdq_core.data.augment import mirrored, shifted
from tdq_core.training.recipe import Recipe


def augmented(images: Tensor, recipe: Recipe, draw: torch.Generator) -> Tensor:
    """Every image of (N, C, H, W) shifted by its own whole pixels, edges repeated, and half of them mirrored."""
    if recipe.shift:
        images = shifted(images, recipe.shift, recipe.shift, draw, edges="replicate")
    return mirrored(images, draw) if recipe.mirror else images


def resized(images: Tensor, pixels: int | None) -> Tensor:
    """The shorter side at `pixels`, smoothed before sampling; as they are for None."""
    if pixels is None:
        return images
    scale = pixels / min(images.shape[2:])
    size = [round(side * scale) for side in images.shape[2:]]
    return functional.interpolate(images, size, mode="bilinear", antialias=True)
