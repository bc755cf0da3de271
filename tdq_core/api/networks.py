"""A network in hand: by name, or a module of your own; as it was, or compressed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.layers.table import LayerTable
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.models.wrapped import wrapped
from tdq_core.pipeline.inputs import table_of
from tdq_core.pipeline.session import LayerResult
from tdq_core.specs import ModelSpec
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.specs.value import Seed, checked
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent


@dataclass(frozen=True, repr=False)
class Network:
    """A network that can be planned for, compressed, quantized and measured; nothing that is done to it changes it.

    Attributes:
        model: with its weights, preprocessing, classes and digest.
        spec: what names it; None: a module that was given.
        seed: of random weights.
        module: (N, C, H, W) float32 to logits (N, classes); in eval mode, on the CPU.
        results: by name what was made of its layers, where it is compressed.
    """

    model: LoadedModel
    spec: ModelSpec | None = None
    seed: int = 0
    module: nn.Module = field(default_factory=nn.Identity)
    results: Mapping[str, LayerResult] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become its inputs."""
        return self.model.preprocessing

    @cached_property
    def params(self) -> int:
        """Number of parameters, shared ones once; buffers are none."""
        return count_params(self.module)

    @cached_property
    @contained()
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return count_macs(self.module, self._nothing())

    @contained()
    def table(self, *, spectra: bool = False, on_progress: Progress = silent) -> LayerTable:
        """Its Conv2d and Linear layers: shapes, costs, why one cannot be decomposed, and the weights' `spectra`."""
        return table_of(self.model, self._nothing(), module=self.module, spectra=spectra, on_progress=on_progress)

    def _nothing(self) -> Tensor:
        return torch.zeros(2, *self.preprocessing.input_shape)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) as it takes them, without gradients."""
        with torch.inference_mode():
            logits: Tensor = self.module(images)
        return logits

    def __repr__(self) -> str:
        size = "x".join(map(str, self.preprocessing.input_shape))
        made = f", {len(self.results)} layers decomposed" if self.results else ""
        return f"Network({self.name}, {self.params:,} params, images {size}{made})"


def load(
    name: str,
    *,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: tuple[int, int] | None = None,
    seed: int = 0,
    on_progress: Progress = silent,
) -> Network:
    """A network by name, with its weights.

    Args:
        name: a registered one (`tdq models`), 'path/to/file.py:factory', 'package.module:factory' or 'timm:NAME'.
        weights: None (the registered ones), a file (.safetensors, or a state dict in .pt, .pth, .th: no code in it is
            run), or 'random' (seeded).
        mean, std: one value a channel; input_size: (height, width) in pixels; they override what is known.

    Raises:
        InputError: an unknown name, weights that are missing or do not fit, no connection.
    """
    spec = ModelSpec(name, weights, mean, std, input_size)  # type: ignore[arg-type]  # checked there
    checked("seed", Seed, seed)
    model = load_model(spec, seed=seed, on_progress=on_progress)
    return Network(model, spec, seed, model.module)


def wrap(
    module: nn.Module,
    *,
    size: int | tuple[int, int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
) -> Network:
    """A module in hand as a network; a copy is taken, the original stays as it is.

    Args:
        size: what it takes, in pixels: (height, width), or one number for both.
        mean, std: one value a channel, where images come as pixels: (x / 255 - mean) / std; None: 0 and 1.
        name: for people; None: that of its class.

    Raises:
        InputError: no module, or one that does not turn images of this size into logits (N, classes).
    """
    model = wrapped(module, size=size, mean=mean, std=std, name=name)
    return Network(model, module=model.module)
