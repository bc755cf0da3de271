"""Unlabelled images, shifted and mirrored: the teacher answers for whatever comes out, so nothing has to be known."""

import torch
from torch import Tensor

from tdq_core.data.augment import mirrored, shifted

SHIFT = 8
"""Images move by up to one part in this many of their size, either way."""

COLOURS = 3


def augmented(images: Tensor, draw: torch.Generator) -> Tensor:
    """Every image of (N, C, H, W) moved by its own whole pixels, edges reflected; of colour images half are mirrored.

    Images of one channel are not mirrored: digits and letters would become something else.
    """
    height, width = images.shape[2:]
    moved = shifted(images, height // SHIFT, width // SHIFT, draw, edges="reflect")
    return mirrored(moved, draw) if images.shape[1] == COLOURS else moved
