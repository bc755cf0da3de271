"""Batch norms: those that keep statistics, and what one multiplies its input by."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tdq_core.graph.modules import of_kind

BatchNorm = _BatchNorm
"""Of one, two or three dimensions, and of several processes: at rest all compute alike."""
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""The classes that do nothing else; a subclass may."""


def with_statistics(model: nn.Module) -> dict[str, BatchNorm]:
    """The batch norms that normalise by running statistics when they do not train."""
    return {name: norm for name, norm in of_kind(model, BatchNorm).items() if norm.running_var is not None}


def gain_of(norm: nn.Module) -> Tensor:
    """(C,), of the norm's own precision, signed: what a batch norm with running statistics multiplies channels by."""
    assert isinstance(norm, BatchNorm) and norm.running_var is not None, "found by `with_statistics`"
    scale = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()
    return scale / (norm.running_var + norm.eps).sqrt()
