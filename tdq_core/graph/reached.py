"""Which weights of a network an image reaches: a head that only training uses is stored and computes nothing."""

from torch import Tensor, nn

from tdq_core.graph.state import state_once
from tdq_core.graph.trace import trace


def unreached(model: nn.Module, example: Tensor) -> frozenset[str]:
    """Names in `state_once` of the tensors of modules that have parameters of which no operation reads any while
    `example` (N, C, H, W) passes.

    Operations count, not calls of modules: a weight that a function takes is reached.
    """
    read = trace(model, (), example).read
    names: set[str] = set()
    for name, module in model.named_modules():
        own = [f"{name}.{key}".lstrip(".") for key in (*module._parameters, *module._buffers)]
        if any(p is not None for p in module._parameters.values()) and not read.intersection(own):
            names.update(own)
    return frozenset(names & state_once(model).keys())
