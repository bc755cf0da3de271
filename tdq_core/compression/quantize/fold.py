"""Batch norms folded into the convolutions before them, found by running the model: no graph has to be captured."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from tdq_core.compression.quantize.agreement import agreement
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.errors import RunFailed


def folded(model: nn.Module, example: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `model` (eval mode) without the batch norms that could be folded, and the names of those left.

    A batch norm is folded where both it and a plain convolution run once on `example`, and the convolution's output
    goes to it alone. The fold is that of `torch.nn.utils.fusion`: w * gain / std, (b - mean) * gain / std + shift.

    RunFailed: the folded model computes something else on `example`, or the logits of the model are not finite.
    """
    copied = copy.deepcopy(model).eval()
    for conv, norm in _pairs(copied, example[:2]):
        layer, batch_norm = copied.get_submodule(conv), copied.get_submodule(norm)
        assert isinstance(layer, nn.Conv2d) and isinstance(batch_norm, nn.BatchNorm2d)
        _fold(layer, batch_norm)
        copied.set_submodule(norm, nn.Identity())
    if not (check := agreement(model, module_predict(copied), example)).same_function:
        raise RunFailed(
            "Folding the batch norms into the convolutions changed the logits by up to "
            f"{check.relative_diff:.2g} of their spread: run this model at int8 with the backend 'onnxruntime'."
        )
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    return copied, tuple(name for name, module in copied.named_modules() if isinstance(module, kinds))


def left_note(batch_norms: int) -> tuple[str, ...]:
    """What a reader must know of batch norms that could not be folded."""
    if not batch_norms:
        return ()
    return (f"{batch_norms} batch norms follow no convolution that they could be folded into: they run in fp32.",)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None, "a batch norm without them is not paired"
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


@dataclass
class _Flow:
    """Which convolution made a tensor, which batch norm took it, and how often anything took it."""

    made: list[tuple[str, Tensor]] = field(default_factory=list)
    taken: list[tuple[str, Tensor]] = field(default_factory=list)
    uses: dict[int, int] = field(default_factory=dict)

    def makes(self, name: str, tensor: Tensor) -> None:
        self.made.append((name, tensor))
        self.uses[id(tensor)] = 0  # counted from here: the tensor is kept, and a gone one may have had its id


class _Uses(TorchFunctionMode):
    """Counts, by tensor, the operations that make a tensor of it; asking for a shape is none."""

    def __init__(self, uses: dict[int, int]) -> None:
        super().__init__()
        self.uses = uses

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(result)):
            for tensor in _tensors((args, kwargs or {})):
                self.uses[id(tensor)] = self.uses.get(id(tensor), 0) + 1
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """(convolution, batch norm) names that can be folded."""
    flow = _Flow()
    with _watched(model, flow), _Uses(flow.uses), torch.no_grad():
        model(example)
    makers = {id(tensor): name for name, tensor in flow.made if flow.uses.get(id(tensor)) == 1}
    makers_runs, takers_runs = ([name for name, _ in seen] for seen in (flow.made, flow.taken))
    found = [(makers[id(tensor)], norm) for norm, tensor in flow.taken if id(tensor) in makers]
    return [(conv, norm) for conv, norm in found if makers_runs.count(conv) == takers_runs.count(norm) == 1]


@contextmanager
def _watched(model: nn.Module, flow: _Flow) -> Iterator[None]:
    hooks = []
    for name, module in model.named_modules():
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(lambda _, __, out, name=name: flow.makes(name, out)))
        elif type(module) is nn.BatchNorm2d and module.running_mean is not None:
            hooks.append(
                module.register_forward_pre_hook(lambda _, args, name=name: flow.taken.append((name, args[0])))
            )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
