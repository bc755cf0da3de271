"""Training images, on whatever device they are: moved, mirrored, made smaller."""

import torch
from torch import Tensor
from torch.nn import functional

from tdq_core.train.recipe import Recipe


def augmented(images: Tensor, recipe: Recipe, draw: torch.Generator) -> Tensor:
    """Every image of (N, C, H, W) shifted by its own whole pixels (edges repeated), and half of them mirrored.

    Args:
        draw: on the CPU, so that every device shifts alike.
    """
    n, _, height, width = images.shape
    device = images.device
    if recipe.shift:
        padded = functional.pad(images, (recipe.shift,) * 4, mode="replicate")
        top, left = torch.randint(0, 2 * recipe.shift + 1, (2, n, 1), generator=draw)
        rows, columns = (top + torch.arange(height)).to(device), (left + torch.arange(width)).to(device)
        at = torch.arange(n, device=device)[:, None, None]
        images = padded[at, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.mirror:
        flipped = (torch.rand(n, generator=draw) < 0.5).to(device)
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    return images


def resized(images: Tensor, pixels: int | None) -> Tensor:
    """The shorter side at `pixels`, smoothed before sampling; as they are for None."""
    if pixels is None:
        return images
    scale = pixels / min(images.shape[2:])
    size = [round(side * scale) for side in images.shape[2:]]
    return functional.interpolate(images, size, mode="bilinear", antialias=True)
