"""Who takes a layer's output: operations count, not modules alone, so that `norm(y) + y` has two takers."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tdq_core.graph.norms import with_statistics
from tdq_core.graph.observe import first_tensor, tensors

ELSEWHERE = ""
"""Taker of a tensor that an operation outside of all watched modules takes, or that the network returns."""

Fact = bool | int | str | torch.Size | torch.dtype | torch.device | torch.layout | torch.memory_format


def following_norms(model: nn.Module, names: Iterable[str], example: Tensor) -> dict[str, str]:
    """Module name -> name of the batch norm, with running statistics, that alone takes its output.

    Of a module that is called several times, one norm takes every output; and the norm takes nothing else. So what
    multiplies or shifts the module's output may be done in the norm instead, and the other way round.

    Args:
        example: (N, C, H, W), passed once; what images decide about the way through the network is not seen.
    """
    norms = with_statistics(model)
    outputs = _outputs(model, dict.fromkeys([*names, *norms]), example)
    runs = Counter(output.maker for output in outputs)
    found = {}
    for name in names:
        takers = [output.takers for output in outputs if output.maker == name]
        sole = {taken[0] if len(taken) == 1 else ELSEWHERE for taken in takers}
        if len(sole) == 1 and (norm := sole.pop()) in norms and runs[norm] == runs[name]:
            found[name] = norm
    return found


@dataclass
class _Output:
    """What a module made in one call, and the modules in which operations took it, one entry each."""

    maker: str
    tensor: Tensor  # kept, so that no later tensor has its id
    takers: list[str] = field(default_factory=list)


class _Takers(TorchFunctionMode):
    """Tells the outputs that are known so far who takes them.

    An operation that gives facts about a tensor (its shape, its type) takes nothing, nor does one that gives the tensor
    itself back, unchanged (a dropout at rest).
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[_Output] = []
        self.running = [ELSEWHERE]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        taken = [output for tensor in tensors((args, kwargs or {})) for output in self._made(tensor)]
        before = [_version(output.tensor) for output in taken]
        result = func(*args, **(kwargs or {}))
        for output, version in zip(taken, before, strict=True):
            unchanged = result is output.tensor and _version(output.tensor) == version
            if not (unchanged or _is_fact(result)):
                output.takers.append(self.running[-1])
        return result

    def finish(self, returned: Any) -> list[_Output]:
        """All outputs, when the network has `returned`."""
        for tensor in tensors(returned):
            for output in self._made(tensor):
                output.takers.append(ELSEWHERE)
        return self.outputs

    def _made(self, tensor: Tensor) -> list[_Output]:
        return [output for output in self.outputs if output.tensor is tensor]


def _version(tensor: Tensor) -> int:
    """How often it has been changed in place, where torch counts that."""
    return 0 if tensor.is_inference() else tensor._version


def _is_fact(result: Any) -> bool:
    return isinstance(result, Fact) or (isinstance(result, tuple) and all(isinstance(each, int) for each in result))


def _outputs(model: nn.Module, names: Iterable[str], example: Tensor) -> list[_Output]:
    """The outputs of all calls of the modules `names` in one pass."""
    mode, handles = _Takers(), []

    def begin(name: str) -> Callable[..., None]:
        return lambda *_: mode.running.append(name)

    def end(*about: Any) -> None:
        name, output = mode.running.pop(), first_tensor(about[-1])
        if output is not None:
            mode.outputs.append(_Output(name, output))

    for name in names:
        module = model.get_submodule(name)
        handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end, always_call=True)]
    try:
        with mode, torch.no_grad():
            return mode.finish(model(example))
    finally:
        for handle in handles:
            handle.remove()
