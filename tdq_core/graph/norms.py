"""Batch norms: those that keep statistics, and what one multiplies its input by."""

import torch
from torch import Tensor, nn

from tdq_core.graph.modules import of_kind


def with_statistics(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch norms that normalise by running statistics when they do not train."""
    return {name: norm for name, norm in of_kind(model, nn.BatchNorm2d).items() if norm.running_var is not None}


def gain_of(norm: nn.Module) -> Tensor:
    """(C,), of the norm's own precision, signed: what a batch norm with running statistics multiplies channels by."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None, "found by `with_statistics`"
    scale = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()
    return scale / (norm.running_var + norm.eps).sqrt()
