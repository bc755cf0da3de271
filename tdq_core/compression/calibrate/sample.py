"""The places of layers' calls that are looked at: the same of every image, in every batch and in every network."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.im2col import input_places, input_rows, output_places, output_rows, places
from tdq_core.errors import NotNow, RunFailed
from tdq_core.graph.calls import Layout, images_first, layouts
from tdq_core.graph.modules import Layer, layers
from tdq_core.graph.observe import Batches, Call, watch
from tdq_core.system.machine import free_memory

PEAK, HELD = 40, 8
"""Bytes for each pair of entries of a patch: of the layer at work, and of each layer whose sums are held."""


def require_memory_of_moments(found: Mapping[str, Layer]) -> None:
    """NotNow where second moments of what these layers see need more memory than is free."""
    pairs = {name: layer.weight[0].numel() ** 2 * HELD for name, layer in found.items()}
    if not pairs:
        return
    largest = max(pairs, key=pairs.__getitem__)
    needed, free = sum(pairs.values()) + pairs[largest] * PEAK // HELD, free_memory()
    if needed > free:
        raise NotNow(
            f"Fitting to outputs needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: the layer "
            f"'{largest}' sees {found[largest].weight[0].numel():,} values at a time. Decompose by the weights alone, "
            "or on a machine with more memory."
        )


@dataclass(frozen=True)
class Sample:
    """Which places of each call are looked at.

    A layer that is called several times is judged by all its calls, each counting alike whatever its size, and the rows
    of a call are paired with those of the same call.

    Attributes:
        layers: by name, as they are in the original network.
        chosen: by name, for each call of a pass, indices of places of one image.
        layouts: by name, for each call, where the images lie and how many places one has.
    """

    layers: Mapping[str, Layer]
    chosen: Mapping[str, tuple[Tensor, ...]]
    layouts: Mapping[str, tuple[Layout, ...]]

    @classmethod
    def of(cls, model: nn.Module, names: Iterable[str], example: Tensor, images: int) -> "Sample":
        """Of the calls of the layers `names` when `example` (1, C, H, W) passes, for so many calibration images."""
        every = layers(model)
        found = {name: every[name] for name in names}
        require_memory_of_moments(found)
        layout = layouts(model, found, example)
        chosen = {name: places([c.places for c in calls], images, seed=0) for name, calls in layout.items()}
        return cls(found, chosen, layout)

    def calls(self, name: str) -> int:
        """How often a layer is called in one pass."""
        return len(self.chosen[name])

    def outputs(self, call: Call) -> Tensor:
        """(images x places, C_out): the rows that a call makes."""
        layer, outputs = self.layers[call.name], self._images_first(call.name, call.index, call.output)
        chosen = self._chosen(call.name, call.index, output_places(layer, outputs.shape))
        return output_rows(outputs, chosen, convolution=isinstance(layer, nn.Conv2d))

    def inputs(self, name: str, index: int, inputs: Tensor, *, of: Layer | None = None) -> Tensor:
        """(images x places, C_in K_h K_w): the patches that a call sees; or those of another layer whose outputs have
        the same places."""
        layer, inputs = of or self.layers[name], self._images_first(name, index, inputs)
        return input_rows(layer, inputs, self._chosen(name, index, input_places(layer, inputs.shape)))

    def _images_first(self, name: str, index: int, values: Tensor) -> Tensor:
        return images_first(values, self.layouts[name][index].images)

    def _chosen(self, name: str, index: int, found: int) -> Tensor:
        if found != (usual := self.layouts[name][index].places):
            raise RunFailed(
                f"The layer '{name}' is applied at {usual} places of some images and at {found} of "
                "others, so that its calls cannot be paired: leave this layer dense, or decompose by the weights alone."
            )
        return self.chosen[name][index]

    def show(
        self, model: nn.Module, batches: Batches, see: Callable[[Call], None], *, after: Callable[[Tensor], None]
    ) -> None:
        """Run `model` over all batches, show the layers' calls to `see`, and each batch to `after` when it has passed.

        Raises:
            RunFailed: some images call a layer more or less often than the example did.
        """
        counts: Counter[str] = Counter()

        def check(call: Call) -> None:
            counts[call.name] += 1
            if call.index >= self.calls(call.name):
                raise _unlike(call.name, call.index + 1, self.calls(call.name))
            see(call)

        with watch(model, self.layers, check), torch.no_grad():
            for batch in batches():
                counts.clear()
                model(batch)
                for name in self.layers:
                    if counts[name] != self.calls(name):
                        raise _unlike(name, counts[name], self.calls(name))
                after(batch)


def _unlike(name: str, one: int, other: int) -> RunFailed:
    return RunFailed(
        f"The layer '{name}' is called {one} times for some images and {other} times for others, so that its calls "
        "cannot be paired: leave this layer dense, or decompose by the weights alone."
    )
