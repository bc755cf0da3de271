"""Starting weights for models that are trained from scratch or studied with random weights."""

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def he_initialise(module: M, *, last_norm: str | None = None) -> M:
    """Kaiming-normal convolutions (He et al. 2015, arXiv 1502.01852), in place; returns the module.

    Activations keep their scale through the depth even where batch norm has seen no data, so that fp16 and int8 work
    on realistic ranges with random weights too.

    Args:
        last_norm: attribute name of the batch norm that ends each residual branch; its weight starts at
            blocks^-0.5, for a sum over identity shortcuts would otherwise double its variance in every block.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_in", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    ends = [getattr(child, last_norm) for child in module.modules() if last_norm and hasattr(child, last_norm)]
    for norm in ends:
        nn.init.constant_(norm.weight, len(ends) ** -0.5)
    return module
