"""A network's state: by content, and with every tensor once."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tdq_core.errors import RunFailed

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


def state_once(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with every tensor under its first name alone: shared ones are stored once."""
    state = model.state_dict(keep_vars=True)
    first = {id(tensor): name for name, tensor in reversed(state.items())}
    return {name: tensor.detach() for name, tensor in state.items() if first[id(tensor)] == name}


def load_once(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state of `state_once` into `model`, in place; what it shares it has under all names.

    Tensor by tensor: a network's own loading may translate, or ask for, what only files of older versions have.
    """
    known = state_once(model)
    assert known.keys() <= state.keys() <= model.state_dict().keys(), "of this model"
    for name, tensor in known.items():
        tensor.copy_(state[name])
    if not all(torch.equal(kept, state[name].to(kept.dtype)) for name, kept in state_once(model).items()):
        raise RunFailed("The network does not keep the state that is put into it: its `state_dict` gives copies.")
