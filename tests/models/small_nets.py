"""A small network, and weights in files that go into it."""

import os
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.graph.state import state_digest
from tdq_core.models.weights_file import Taken, load_weights

State = dict[str, Tensor]


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))


def load(module: nn.Module, weights: object, **options: Any) -> Taken:
    return load_weights(module, str(weights), opened=lambda m: m, **options)


def digest_after(weights: object, module: nn.Module | None = None) -> str:
    """Of a network that began with other weights."""
    module = module or small_net(1)
    load(module, weights)
    return state_digest(module)


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("echo harmful",)
