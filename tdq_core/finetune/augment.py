"""Unlabelled images, shifted and mirrored: the teacher answers for whatever comes out, so nothing has to be known."""

import torch
from torch import Tensor
from torch.nn import functional

SHIFT = 8
"""Images move by up to one part in this many of their size, either way."""

COLOURS = 3


def augmented(images: Tensor, draw: torch.Generator) -> Tensor:
    """Every image of (N, C, H, W) moved by its own whole pixels, edges reflected; of colour images half are mirrored.

    Images of one channel are not mirrored: digits and letters would become something else.
    """
    moved = _shifted(images, draw)
    if images.shape[1] != COLOURS:
        return moved
    turned = torch.rand(len(images), generator=draw) < 0.5
    return torch.where(turned[:, None, None, None], moved.flip(3), moved)


def _shifted(images: Tensor, draw: torch.Generator) -> Tensor:
    n, _, height, width = images.shape
    down, right = height // SHIFT, width // SHIFT
    padded = functional.pad(images, (right, right, down, down), mode="reflect")
    top = torch.randint(0, 2 * down + 1, (n, 1), generator=draw) + torch.arange(height)
    left = torch.randint(0, 2 * right + 1, (n, 1), generator=draw) + torch.arange(width)
    at = torch.arange(n)[:, None, None]
    return padded[at, :, top[:, :, None], left[:, None, :]].permute(0, 3, 1, 2)
