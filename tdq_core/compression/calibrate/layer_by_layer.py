"""One walk through the network: every layer is fitted when the images arrive at it, by layers that are compressed."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.im2col import input_rows, output_places, output_rows, places
from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.calibrate.refit import Place
from tdq_core.compression.condition.observe import Batches, following_norms
from tdq_core.compression.decompose.methods import Options
from tdq_core.compression.decompose.modules import Factorized, record
from tdq_core.errors import NotNow
from tdq_core.ranks.plan import LayerPlan, Plan
from tdq_core.records.record import LayerRecord
from tdq_core.system.machine import free_memory
from tdq_core.system.progress import Progress, silent

LIVE = 4
"""Activations of the size of the largest one that are alive at a time, about."""


def apply_calibrated(
    model: nn.Module, plan: Plan, batches: Batches, *, options: Options, on_progress: Progress = silent
) -> tuple[nn.Module, tuple[LayerRecord, ...]]:
    """`factorized.apply_plan` with factors fitted to the outputs on `batches` (N, C, H, W) of unlabelled images.

    The original network is passed once in batches; of each layer's outputs a bounded sample is kept. The compressed one
    is passed once with all images together, so that every layer is fitted on what the compressed layers before it send.

    Raises:
        NotNow: all images together need more memory than is free.
    """
    images = torch.cat(list(batches()))
    chosen = plan.decomposed()
    norms = following_norms(model, [p.layer.name for p in chosen], images[:1])
    wanted = _outputs(model, [p.layer.name for p in chosen], batches, len(images))
    compressed = copy.deepcopy(model)
    made: dict[str, Factorized] = {}

    def arrive(planned: LayerPlan) -> Callable[[Tensor], nn.Module]:
        def settle(inputs: Tensor) -> nn.Module:
            name = planned.layer.name
            place = Place(model, compressed, name, norms.get(name))
            seen = _seen(place, inputs, wanted.pop(name))
            made[name] = place.settle(planned, seen, options)
            on_progress("decompose", len(made), len(chosen))
            return made[name].module

        return settle

    on_progress("decompose", 0, len(chosen))
    with _gates(compressed, {p.layer.name: arrive(p) for p in chosen}), torch.no_grad():
        compressed(images)
    return compressed.eval(), tuple(record(p, made.get(p.layer.name)) for p in plan.layers)


@dataclass(frozen=True)
class _Wanted:
    """What the original layer makes: its outputs (n, C_out) at the places `chosen` of every image."""

    rows: Tensor
    chosen: Tensor


def _seen(place: Place, inputs: Tensor, wanted: _Wanted) -> Moments:
    """Moments of a layer's `inputs` in the compressed network with the outputs that are wanted of it."""
    rows = input_rows(place.layer, inputs, wanted.chosen)
    return moments(rows, wanted.rows, place.kernel, centred=place.centred)


def _outputs(model: nn.Module, names: list[str], batches: Batches, images: int) -> dict[str, _Wanted]:
    """What the layers `names` of the original network make, at a bounded sample of places."""
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    chosen: dict[str, Tensor] = {}
    largest = 0

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: Any, _: Any, output: Tensor) -> None:
            if name not in chosen:
                chosen[name] = places(output_places(layer, output), images, seed=0)
            rows[name].append(output_rows(output, chosen[name], convolution=isinstance(layer, nn.Conv2d)))

        return hook

    def size(_: Any, __: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() // len(output))

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    handles += [m.register_forward_hook(size) for m in model.modules() if not list(m.children())]
    try:
        with torch.no_grad():
            for batch in batches():
                model(batch)
                _require_memory(images, largest)
    finally:
        for handle in handles:
            handle.remove()
    return {name: _Wanted(torch.cat(rows[name]), chosen[name]) for name in names}


def _require_memory(images: int, largest: int) -> None:
    needed, free = 4 * LIVE * images * largest, free_memory()
    if needed > free:
        raise NotNow(
            f"Calibrating on {images} images at once needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free: take fewer with --calib-samples."
        )


class _Gate(nn.Module):
    """Stands where a layer stood until images arrive; then the layer is settled, and they go on through it."""

    def __init__(self, settle: Callable[[Tensor], nn.Module]) -> None:
        super().__init__()
        self._settle = settle
        self.settled: nn.Module | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.settled is None:
            self.settled = self._settle(inputs)
        output: Tensor = self.settled(inputs)
        return output


@contextmanager
def _gates(model: nn.Module, settlers: dict[str, Callable[[Tensor], nn.Module]]) -> Iterator[None]:
    """Gates in place of the layers; afterwards what they settled stands there itself."""
    gates = {name: _Gate(settle) for name, settle in settlers.items()}
    for name, gate in gates.items():
        model.set_submodule(name, gate)
    yield
    for name, gate in gates.items():
        assert gate.settled is not None, "the plan's layers all run"
        model.set_submodule(name, gate.settled)
