"""Batch norms re-estimated: the statistics of the decomposed model in place of those of the dense one."""

import contextlib
import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from tdq_core.graph.norms import with_statistics
from tdq_core.graph.observe import Batches, run_over
from tdq_core.system.progress import Progress, silent


def reestimate_batch_norms(model: nn.Module, batches: Batches, *, on_progress: Progress = silent) -> nn.Module:
    """A copy of `model` whose batch norms hold the mean over the batches of their inputs' means and variances.

    All kinds of batch norm that keep statistics. No labels, no gradients. It is an approximation that follows the
    decomposed model through its depth: earlier batch norms normalise by the batch while later ones are estimated.
    """
    model = copy.deepcopy(model)
    with counted_anew(model):
        run_over(model, lambda: _none_alone(batches()), "batch norms", on_progress)
    return model


@contextlib.contextmanager
def counted_anew(model: nn.Module) -> Iterator[None]:
    """Within, batch norms of `model` forget their statistics and count those of the batches that pass, each as much as
    the others; the rest of it is at rest, as all of it is afterwards."""
    model.eval()
    norms = list(with_statistics(model).values())
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    yield
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    model.eval()


def _none_alone(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches; a single image at the end goes with the batch before it, for alone it has no variance."""
    waiting: Tensor | None = None
    for batch in batches:
        if waiting is not None and len(batch) == 1:
            batch, waiting = torch.cat([waiting, batch]), None
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting
