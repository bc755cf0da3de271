"""One walk through the network: every layer is fitted when the images arrive at it, by layers that are compressed."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import Moments, moments_of_groups
from tdq_core.compression.calibrate.refit import Place
from tdq_core.compression.calibrate.sample import Sample
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import Made, find_starts
from tdq_core.compression.memory import Memory
from tdq_core.errors import NotNow, RunFailed
from tdq_core.graph.calls import depends_on_batch
from tdq_core.graph.modules import leaves
from tdq_core.graph.observe import Batches, Call, watch
from tdq_core.graph.uses import following_norms
from tdq_core.graph.walk import settle_in_turn
from tdq_core.ranks.plan import LayerPlan, Plan
from tdq_core.system.machine import free_memory
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import one_thread

LIVE = 4
"""Activations of the size of the largest one that are alive at a time, about; as many again where a layer is called
several times, while it waits for all its inputs."""

FEW = 3
"""Images by which it is found out whether a network looks at other images of its batch."""


def apply_calibrated(
    model: nn.Module, plan: Plan, batches: Batches, *, options: Options, memory: Memory | None = None,
    on_progress: Progress = silent,
) -> tuple[nn.Module, Made]:  # fmt: skip
    """`decompose.modules.apply_plan` with factors fitted to the outputs on `batches` (N, C, H, W) of unlabelled images.

    The original network is passed once in batches; of each layer's outputs a bounded sample is kept. The compressed one
    is passed once with all images together, so that every layer is fitted on what the compressed layers before it send;
    a layer that is called several times is fitted to all its calls, for which the images are passed once more.

    Raises:
        NotNow: all images together need more memory than is free.
        RunFailed: what a layer sees and what it should make cannot be paired.
    """
    fits = _Fits(model, plan.decomposed(), torch.cat(list(batches())), options, memory or Memory(), on_progress)
    fits.pass_original(batches)
    fits.pass_compressed()
    return fits.compressed.eval(), fits.made


@dataclass(frozen=True)
class _Rows:
    """What is looked at of one layer, for each of its calls.

    Attributes:
        wanted: what the original layer makes, parts of (n, C_out), one a batch.
        seen: (n, C_in K_h K_w), what the layer sees in the compressed network.
    """

    wanted: list[list[Tensor]]
    seen: list[Tensor] = field(default_factory=list)

    def moments(self, place: Place) -> tuple[Moments, ...]:
        wanted = [torch.cat(parts) for parts in self.wanted]
        if [len(rows) for rows in self.seen] != [len(rows) for rows in wanted]:
            raise RunFailed(
                f"The layer '{place.name}' sees inputs of other sizes in the compressed network than in the original "
                "one, so that its calls cannot be paired: leave this layer dense, or decompose by the weights alone."
            )
        rows, outputs = torch.cat(self.seen), torch.cat(wanted)
        return moments_of_groups(rows, outputs, place.kernel, place.groups, centred=place.centred)


class _Fits:
    """The layers of a plan, fitted one after another."""

    def __init__(
        self, model: nn.Module, plan: Sequence[LayerPlan], images: Tensor, options: Options, memory: Memory,
        on_progress: Progress,
    ) -> None:  # fmt: skip
        self.model, self.compressed, self.images = model, copy.deepcopy(model), images
        self.made: Made = {}
        self._plan = {p.layer.name: p for p in plan}
        self._options, self._memory, self._on_progress = options, memory, on_progress
        self._norms = following_norms(model, self._plan, images[:1])
        self._sample = Sample.of(model, self._plan, images[:1], len(images))
        self._rows = {name: _Rows([[] for _ in chosen]) for name, chosen in self._sample.chosen.items()}

    def pass_original(self, batches: Batches) -> None:
        """Keep what the original layers make, at the places of the sample: of all images together, as the copy will see
        them, where a network looks at other images of its batch."""
        together = depends_on_batch(self.model, self.images[:FEW])
        again = any(len(chosen) > 1 for chosen in self._sample.chosen.values())
        largest = 0

        def keep(call: Call) -> None:
            self._rows[call.name].wanted[call.index].append(self._sample.outputs(call))

        def size(call: Call) -> None:
            nonlocal largest
            largest = max(largest, call.output.numel() // max(1, call.output.shape[:1].numel()))

        with watch(self.model, leaves(self.model), size):
            self._sample.show(self.model, (lambda: [self.images]) if together else batches, keep,
                              after=lambda _: require_memory(len(self.images), largest, again=again))  # fmt: skip

    def pass_compressed(self) -> None:
        """Fit every layer of the copy to what arrives at it."""
        find_starts(self.model, list(self._plan.values()), self._options, self._memory, on_progress=self._on_progress)
        self._on_progress("decompose", 0, len(self._plan))
        calls = {name: self._sample.calls(name) for name in self._plan}
        with torch.no_grad():
            settle_in_turn(self.compressed, self.images, calls, see=self._see, settle=self._settle)

    def _see(self, name: str, index: int, inputs: Tensor) -> None:
        self._rows[name].seen.append(self._sample.inputs(name, index, inputs))

    def _settle(self, name: str) -> nn.Module:
        place = Place(self.model, self.compressed, name, self._norms.get(name))
        with one_thread():
            made = place.settle(self._plan[name], self._rows.pop(name).moments(place), self._options, self._memory)
        self.made[name] = made
        self._on_progress("decompose", len(self.made), len(self._plan))
        return made.module


def require_memory(images: int, largest: int, *, again: bool) -> None:
    needed, free = 4 * LIVE * (2 if again else 1) * images * largest, free_memory()
    if needed > free:
        raise NotNow(
            f"Calibrating on {images} images at once needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free: take fewer ('calib_samples')."
        )
