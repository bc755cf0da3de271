"""Batch norms re-estimated: the statistics of the decomposed model in place of those of the dense one."""

import copy

import torch
from torch import nn

from tdq_core.compression.condition.observe import Batches
from tdq_core.system.progress import Progress, silent


def reestimate_batch_norms(model: nn.Module, batches: Batches, *, on_progress: Progress = silent) -> nn.Module:
    """A copy of `model` whose batch norms hold the mean over the batches of their inputs' means and variances.

    No labels, no gradients. It is an approximation that follows the decomposed model through its depth: earlier batch
    norms normalise by the batch while later ones are estimated.
    """
    model = copy.deepcopy(model).eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    with torch.no_grad():
        for done, batch in enumerate(batches(), start=1):
            model(batch)
            on_progress("batch norms", done, 0)
    for norm, momentum in zip(norms, kept):
        norm.momentum = momentum
    return model.eval()
