"""Training images moved and mirrored: drawn on the CPU, so that every device sees the same."""

import torch
from torch import Tensor
from torch.nn import functional


def shifted(images: Tensor, down: int, right: int, draw: torch.Generator, *, edges: str) -> Tensor:
    """Every image of (N, C, H, W) moved by its own whole pixels, up to `down` and `right` either way.

    Args:
        edges: what fills the gap, 'reflect' or 'replicate', see `torch.nn.functional.pad`.
    """
    n, _, height, width = images.shape
    device = images.device
    padded = functional.pad(images, (right, right, down, down), mode=edges)
    top = torch.randint(0, 2 * down + 1, (n, 1), generator=draw) + torch.arange(height)
    left = torch.randint(0, 2 * right + 1, (n, 1), generator=draw) + torch.arange(width)
    at = torch.arange(n, device=device)[:, None, None]
    return padded[at, :, top.to(device)[:, :, None], left.to(device)[:, None, :]].permute(0, 3, 1, 2)


def mirrored(images: Tensor, draw: torch.Generator) -> Tensor:
    """Half of the images mirrored left to right."""
    turned = (torch.rand(len(images), generator=draw) < 0.5).to(images.device)
    return torch.where(turned[:, None, None, None], images.flip(3), images)
