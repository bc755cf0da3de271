"""Every layer fitted by itself, to what it sees in the original network: one pass of the images serves every ratio."""

import copy
from pathlib import Path

import torch
from torch import nn

from tdq_core.compression.calibrate.refit import Place
from tdq_core.compression.calibrate.sums import collect, moments_of
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import Made, find_starts
from tdq_core.compression.memory import Memory
from tdq_core.graph.observe import Batches
from tdq_core.graph.replace import replace
from tdq_core.graph.uses import following_norms
from tdq_core.ranks.plan import Plan
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import one_thread


def apply_symmetric(
    model: nn.Module,
    plan: Plan,
    batches: Batches,
    images: int,
    *,
    options: Options,
    memory: Memory | None = None,
    folder: Path | None = None,
    on_progress: Progress = silent,
) -> tuple[nn.Module, Made]:
    """`layer_by_layer.apply_calibrated` without its asymmetry: no layer knows what compressed layers before it send.

    It loses more, and it is quick where `folder` holds the sums already, see `sums.collect`.

    Args:
        batches: of `images` unlabelled images, (N, C, H, W).
    """
    chosen = plan.decomposed()
    names = [p.layer.name for p in chosen]
    sums = collect(model, names, batches, images, folder=folder, on_progress=on_progress)
    norms = following_norms(model, names, next(iter(batches()))[:1])
    compressed = copy.deepcopy(model)
    made: Made = {}
    memory = memory or Memory()
    find_starts(model, chosen, options, memory, on_progress=on_progress)
    on_progress("decompose", 0, len(chosen))
    for planned in chosen:
        name = planned.layer.name
        place = Place(model, compressed, name, norms.get(name))
        with torch.no_grad(), one_thread():
            seen = moments_of(sums.pop(name), place.layer.weight.detach(), centred=place.centred)
            made[name] = place.settle(planned, seen, options, memory)
        replace(compressed, {name: made[name].module})
        on_progress("decompose", len(made), len(chosen))
    return compressed.eval(), made
