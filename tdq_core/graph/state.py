"""A network's state by content."""

import hashlib

import torch
from torch import nn

COUNTER = "num_batches_tracked"
"""Batch norm's counters end so: they take no part at inference."""


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the sorted (name, dtype, shape, bytes) of the state dict, batch norm's counters left out."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not name.endswith(COUNTER):
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
