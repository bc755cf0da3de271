"""What student and teacher make on the way: the outputs of the batch norms that both have."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tdq_core.graph.modules import of_kind
from tdq_core.graph.norms import BatchNorm
from tdq_core.graph.observe import Call, watch

Seen = dict[tuple[str, int], Tensor]
"""The latest output of each call of a batch norm, by its name and the number of the call in a pass."""


def shared_norms(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Names of the batch norms of both networks."""
    both = of_kind(teacher, BatchNorm)
    return [name for name in of_kind(student, BatchNorm) if name in both]


@contextmanager
def watched(model: nn.Module, names: list[str]) -> Iterator[Seen]:
    """The outputs of the modules `names` while `model` runs within."""
    seen: Seen = {}

    def keep(call: Call) -> None:
        seen[call.name, call.index] = call.output

    with watch(model, names, keep):
        yield seen


def distance(student: Seen, teacher: Seen) -> Tensor:
    """Mean over the features of squared difference over the teacher's variance; 0 where there are no features."""
    shares = [(student[n] - t).square().mean() / t.var().clamp_min(1e-12) for n, t in teacher.items() if n in student]
    return torch.stack(shares).mean() if shares else torch.zeros(())
