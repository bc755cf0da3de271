"""What student and teacher make on the way: the outputs of the batch norms that both have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Seen = dict[str, Tensor]


def shared_norms(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Names of the batch norms of both networks."""
    both = {name for name, module in teacher.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return [name for name, module in student.named_modules() if name in both and isinstance(module, nn.BatchNorm2d)]


@contextmanager
def watched(model: nn.Module, names: list[str]) -> Iterator[Seen]:
    """The latest outputs of the modules `names`, by name, while `model` runs within."""
    seen: Seen = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, __, output: seen.__setitem__(name, output)

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def distance(student: Seen, teacher: Seen) -> Tensor:
    """Mean over the features of squared difference over the teacher's variance; 0 where there are no features."""
    shares = [(student[n] - t).square().mean() / t.var().clamp_min(1e-12) for n, t in teacher.items() if n in student]
    return torch.stack(shares).mean() if shares else torch.zeros(())
