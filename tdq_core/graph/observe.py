"""Watching what flows through a network while it runs; the network computes what it always computes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tdq_core.system.progress import Progress, silent

Batches = Callable[[], Iterable[Tensor]]
"""Gives a fresh pass over unlabelled images, (N, C, H, W) a batch."""


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        name: under which the module is watched.
        index: calls of the same module before this one, in the same pass of the network.
        input, output: the first tensor that it takes, and that it gives.
    """

    name: str
    index: int
    module: nn.Module
    input: Tensor
    output: Tensor


def run_over(model: nn.Module, batches: Batches, stage: str, on_progress: Progress = silent) -> None:
    """Run the model over all batches without gradients, for whoever watches; progress counts batches of `stage`."""
    with torch.no_grad():
        for done, batch in enumerate(batches(), start=1):
            model(batch)
            on_progress(stage, done, 0)


@contextmanager
def watch(model: nn.Module, names: Iterable[str], see: Callable[[Call], None]) -> Iterator[None]:
    """Show every call of the modules `names` to `see`, in their order, while `model` runs within.

    A call that takes or gives no tensor is not shown.
    """
    counts: Counter[str] = Counter()

    def watching(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            taken, given = first_tensor((args, kwargs)), first_tensor(output)
            if taken is None or given is None:
                return
            counts[name] += 1
            see(Call(name, counts[name] - 1, module, taken, given))

        return hook

    def begin(*_: object) -> None:
        counts.clear()

    handles: list[RemovableHandle] = [model.register_forward_pre_hook(begin)]
    handles += [model.get_submodule(n).register_forward_hook(watching(n), with_kwargs=True) for n in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in `value`, in lists, tuples and dicts too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors(each)


def first_tensor(value: Any) -> Tensor | None:
    """The first of `tensors`, None where there is none."""
    return next(tensors(value), None)
