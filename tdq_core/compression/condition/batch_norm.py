"""Batch norms re-estimated: the statistics of the decomposed model in place of those of the dense one."""

import copy

from torch import nn

from tdq_core.graph.norms import with_statistics
from tdq_core.graph.observe import Batches, run_over
from tdq_core.system.progress import Progress, silent


def reestimate_batch_norms(model: nn.Module, batches: Batches, *, on_progress: Progress = silent) -> nn.Module:
    """A copy of `model` whose batch norms hold the mean over the batches of their inputs' means and variances.

    No labels, no gradients. It is an approximation that follows the decomposed model through its depth: earlier batch
    norms normalise by the batch while later ones are estimated.
    """
    model = copy.deepcopy(model).eval()
    norms = list(with_statistics(model).values())
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    run_over(model, batches, "batch norms", on_progress)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return model.eval()
