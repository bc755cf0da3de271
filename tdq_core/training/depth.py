"""Residual networks that grow while they are trained: first epochs run only the first blocks of every stage.

A block that joins later starts as the identity, so that growing changes no output (Chen et al. 2016, Net2Net, arXiv
1511.05641; Chang et al. 2018, arXiv 1710.10348): the last batch norm of its branch begins with weight 0, and what
comes in has passed a ReLU already.
"""

import re
from collections.abc import Iterator

from torch import nn

from tdq_core.errors import InputError
from tdq_core.graph.modules import children
from tdq_core.graph.replace import skip


def begin_shallow(module: nn.Module, blocks: int) -> None:
    """Make every block beyond the first `blocks` of its stage an identity; for weights that training starts from.

    Raises:
        InputError: where the network is not made of residual stages.
    """
    if not any(True for _ in _stages(module)):
        raise InputError(
            "The recipe's 'depths' need a network whose stages layer1, layer2, ... are rows of residual blocks, as the "
            f"ResNets are. Got {type(module).__name__}; leave 'depths' out."
        )
    for stage in _stages(module):
        for block in list(stage)[blocks:]:
            nn.init.zeros_(_last_norm(block).weight)


def set_depth(module: nn.Module, blocks: int | None) -> None:
    """From now on only the first `blocks` of every stage run; None runs all."""
    for stage in _stages(module):
        for index, block in enumerate(stage):
            skip(block, blocks is not None and index >= blocks)


def share_running(module: nn.Module, blocks: int | None) -> float:
    """Blocks that run at this depth, of all; 1 for a network without residual stages."""
    lengths = [len(stage) for stage in _stages(module)]
    return sum(min(n, blocks) for n in lengths) / sum(lengths) if lengths and blocks else 1.0


def _stages(module: nn.Module) -> Iterator[nn.Sequential]:
    for name, child in children(module).items():
        if re.fullmatch(r"layer\d+", name) and isinstance(child, nn.Sequential):
            yield child


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    return [child for child in children(block).values() if isinstance(child, nn.BatchNorm2d)][-1]
