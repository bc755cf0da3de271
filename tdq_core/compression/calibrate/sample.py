"""The places of layers' calls that are looked at: the same of every image, in every batch and in every network."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.im2col import input_rows, output_places, output_rows, places
from tdq_core.errors import RunFailed
from tdq_core.graph.calls import output_shapes
from tdq_core.graph.modules import Layer, layers
from tdq_core.graph.observe import Batches, Call, watch


@dataclass(frozen=True)
class Sample:
    """Which places of each call are looked at.

    A layer that is called several times is judged by all its calls, each counting alike whatever its size, and the rows
    of a call are paired with those of the same call.

    Attributes:
        layers: by name, as they are in the original network.
        chosen: by name, for each call of a pass, indices of places of one image.
        places: by name, for each call, how many places one image has.
    """

    layers: Mapping[str, Layer]
    chosen: Mapping[str, tuple[Tensor, ...]]
    places: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: nn.Module, names: Iterable[str], example: Tensor, images: int) -> "Sample":
        """Of the calls of the layers `names` when `example` (1, C, H, W) passes, for so many calibration images."""
        every = layers(model)
        found = {name: every[name] for name in names}
        shapes = output_shapes(model, found, example)
        counts = {name: tuple(output_places(found[name], s) for s in shapes[name]) for name in found}
        chosen = {name: places(each, images, seed=0) for name, each in counts.items()}
        return cls(found, chosen, counts)

    def calls(self, name: str) -> int:
        """How often a layer is called in one pass."""
        return len(self.chosen[name])

    def outputs(self, call: Call) -> Tensor:
        """(images x places, C_out): the rows that a call makes."""
        convolution = isinstance(self.layers[call.name], nn.Conv2d)
        return output_rows(call.output, self.chosen[call.name][call.index], convolution=convolution)

    def inputs(self, name: str, index: int, inputs: Tensor) -> Tensor:
        """(images x places, C_in K_h K_w): the patches that a call sees."""
        return input_rows(self.layers[name], inputs, self.chosen[name][index])

    def show(
        self, model: nn.Module, batches: Batches, see: Callable[[Call], None], *, after: Callable[[Tensor], None]
    ) -> None:
        """Run `model` over all batches, show the layers' calls to `see`, and each batch to `after` when it has passed.

        Raises:
            RunFailed: some images call a layer more or less often than the example did, or with more or fewer places.
        """
        counts: Counter[str] = Counter()

        def check(call: Call) -> None:
            counts[call.name] += 1
            expected = self.places[call.name]
            if call.index >= len(expected):
                raise _unlike(call.name, call.index + 1, len(expected))
            if output_places(self.layers[call.name], call.output.shape) != expected[call.index]:
                raise RunFailed(
                    f"The outputs of the layer '{call.name}' differ in size from image to image, so that they cannot "
                    "be sampled alike: leave this layer dense, or decompose by the weights alone."
                )
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
