"""A network in hand: by name, or a module of your own; as it was, or compressed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.file_parts import with_files
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.layers.table import LayerTable
from tdq_core.models.loading import LoadedModel, digest_of, load_model
from tdq_core.models.registry import MODELS, is_known_code
from tdq_core.models.weights_file import load_weights
from tdq_core.models.weights_ref import RANKS, RECORD
from tdq_core.models.wrapped import wrapped
from tdq_core.pipeline.exports.told import Told
from tdq_core.pipeline.inputs import table_of
from tdq_core.pipeline.session import LayerResult
from tdq_core.records.record import UNFIT
from tdq_core.specs import ModelSpec, RunSpec
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.specs.value import Seed, checked
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent
from tdq_core.system.reading import read_json


@dataclass(frozen=True, repr=False)
class Network:
    """A network that can be planned for, compressed, quantized and measured; nothing that is done to it changes it.

    Attributes:
        model: with its weights, preprocessing, classes and digest.
        spec: what names it; None: a module that was given.
        seed: of random weights.
        module: (N, C, H, W) float32 to logits (N, classes); in eval mode, on the CPU.
        results: by name what was made of its layers, where it is compressed; ranks: at which ranks.
    """

    model: LoadedModel
    spec: ModelSpec | None = None
    seed: int = 0
    module: nn.Module = field(default_factory=nn.Identity)
    results: Mapping[str, LayerResult] = field(default_factory=dict)
    ranks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

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
    def table(self, *, spectra: bool = False, files: bool = False, on_progress: Progress = silent) -> LayerTable:
        """Its Conv2d and Linear layers: shapes, costs, why one cannot be decomposed, and the weights' `spectra`; what
        its `files` hold beside them."""
        table = table_of(self.model, self._nothing(), module=self.module, spectra=spectra, on_progress=on_progress)
        return with_files(table, self.module, self._nothing()) if files else table

    @contained()
    def dense_table(self) -> LayerTable:
        """That of the network before it was compressed, without spectra, with what its files hold."""
        dense = self.model.module
        return with_files(table_of(self.model, self._nothing(), spectra=False), dense, self._nothing())

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
    name: str | Path,
    *,
    model: str | nn.Module | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: tuple[int, int] | None = None,
    seed: int = 0,
    on_progress: Progress = silent,
) -> Network:
    """A network by name, with its weights; or the compressed one of an export.

    Args:
        name: a registered one (`tdq models`), 'path/to/file.py:factory', 'package.module:factory' or 'timm:NAME'; or
            the folder of an export, see `load_export`.
        model: of an export, what builds its network before it was compressed.
        weights: None (the registered ones), 'random' (seeded), or a file or folder with a state dict, as checkpoints,
            the Hugging Face hub and TDQ's exports have it (no code in it is run); 'FILE::NAME' takes one of several.
        mean, std: one value a channel; input_size: (height, width) in pixels; they override what is known.

    Raises:
        InputError: an unknown name, weights that are missing or do not fit, no connection.
    """
    if _is_export(name):
        if (weights, mean, std, input_size) != (None, None, None, None):
            raise InputError(
                f"The export in '{name}' has its own weights, mean, std and input size: leave them out, or give the "
                "folder as weights=... of a network's name."
            )
        return load_export(name, model=model, on_progress=on_progress)
    if model is not None:
        raise InputError(f"The 'model' says what an export is built from, and '{name}' is no folder of one.")
    spec = ModelSpec(str(name), weights, mean, std, input_size)  # type: ignore[arg-type]  # checked there
    checked("seed", Seed, seed)
    opened = load_model(spec, seed=seed, on_progress=on_progress)
    return Network(opened, spec, seed, opened.module)


def _is_export(name: str | Path) -> bool:
    """Whether it is a folder that holds an export; a registered name is that network, whatever lies in this folder."""
    return str(name) not in MODELS and any((Path(name) / file).is_file() for file in (RECORD, RANKS))


def load_export(folder: str | Path, *, model: str | nn.Module | None = None, on_progress: Progress = silent) -> Network:
    """The compressed network that `tdq run --export` wrote; its `module` is a plain torch module, for use anywhere.

    Args:
        folder: with the file at fp32, fp16 or simulated bits for torch, and 'ranks.json' beside it.
        model: what builds the network before it was compressed, as in `load`, or that network, a module; None: what
            'record.json' names, where that is a registered network or one of timm's: other people's code is run for
            those only who name it.

    Raises:
        InputError: no export, one that another runtime runs, or one of another network.
    """
    if isinstance(model, nn.Module):
        return _put_into(model, Path(folder))
    told = _recorded(Path(folder))
    name = model or told.name if told else model
    if name is None:
        raise InputError(f"The folder '{folder}' has no '{RECORD}' that can be read: name its network, as model=...")
    if model is None and not is_known_code(name):
        raise InputError(
            f"The export in '{folder}' is of '{name}', whose code is run for those only who name it: give it as "
            "model=..."
        )
    shown = {"mean": told.mean, "std": told.std, "input_size": told.input_size} if told else {}
    return load(name, weights=str(folder), on_progress=on_progress, **shown)  # type: ignore[arg-type]


def _put_into(module: nn.Module, folder: Path) -> Network:
    """A copy of `module`, a dense network, with the layers and weights of the export in `folder`."""
    prepared = Told.read(folder).preprocessing
    dense = wrap(module, size=prepared.input_size, mean=prepared.mean, std=prepared.std)
    taken = load_weights(dense.module, str(folder), opened=lambda opened: opened)
    digest = digest_of(dense.model.digest + taken.code, prepared, dense.module)
    notes = (*dense.model.notes, *taken.notes)
    model = replace(dense.model, weights_source=taken.source, weights_sha256=taken.sha256, digest=digest, notes=notes)
    return replace(dense, model=model)


def _recorded(folder: Path) -> ModelSpec | None:
    """The network of the run that was exported."""
    try:
        return RunSpec.recorded(read_json(folder / RECORD)["spec"]).model
    except (OSError, InputError, *UNFIT):
        return None


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
