"""What `tdq run --export` wrote, as a network again: factorised layers in the places of those that they came from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from tdq_core.compression.decompose.stored import stages_in, stored_layers
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.simulated_file import ABOUT, load_simulated
from tdq_core.errors import InputError
from tdq_core.graph.change import change_inputs_by_call
from tdq_core.graph.modules import of_kind
from tdq_core.graph.replace import replace
from tdq_core.models.checkpoints.contents import Contents
from tdq_core.models.weights_ref import RANKS, RECORD
from tdq_core.specs.rank_choice import read_ranks
from tdq_core.system.reading import read_json

PROGRAMS = (".onnx", ".pt2")


@dataclass(frozen=True)
class Rebuilt:
    """What a network was made ready for.

    Attributes:
        contents: its tensors as floats; None: as they lie in the file.
        grids: on which the inputs of layers are rounded, by layer: one for all of its calls, or one a call.
    """

    contents: Contents | None = None
    grids: Mapping[str, Sequence[ActivationGrid]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        if not self.grids:
            return ""
        told = sorted((name, g.scale, g.zero_point, g.levels) for name, calls in self.grids.items() for g in calls)
        return " inputs rounded " + hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def finish(self, module: nn.Module) -> None:
        """From now on `module`, in which the weights lie, rounds the inputs of its layers as the exported one did."""
        change_inputs_by_call(module, {name: [grid.round for grid in calls] for name, calls in self.grids.items()})


NOTHING = Rebuilt()


def require_loadable(path: Path) -> None:
    """InputError where `path` is an export that only another runtime runs."""
    files = [path] if path.is_file() else sorted(path.glob("*")) if (path / RANKS).is_file() else []
    programs = [file for file in files if file.suffix in PROGRAMS]
    if programs and not any(file.suffix == ".safetensors" for file in files):
        raise InputError(
            f"The export '{programs[0]}' is a program for its runtime and holds no network that TDQ could open: export "
            "the run with --backend torch at fp32, fp16 or simulated bits, and give that folder."
        )


def is_export(file: Path, contents: Contents, about: Mapping[str, str]) -> bool:
    """Whether TDQ wrote `file`: its metadata says so, or ranks lie beside it and it is named or built as exports are.

    Nothing else is taken for one: sub-layers of the same names may have been made by another tool, in another way.
    """
    if ABOUT in about or not file.with_name(RANKS).is_file():
        return ABOUT in about
    ends = tuple(f".{stage}.weight" for made in IMPLEMENTATIONS.values() for stage in made.stages)
    return file.name.startswith("model.") or any(name.endswith(ends) for name in contents.tensors)


def rebuild(module: nn.Module, file: Path, contents: Contents, about: Mapping[str, str]) -> Rebuilt:
    """Give `module`, opened as networks are before they are compressed, the layers of the export in `file`, in place;
    its weights are not loaded yet.

    Raises:
        InputError: a layer is stored in a way that none of the methods makes, or in place of one that TDQ cannot build.
    """
    grids: Mapping[str, Sequence[ActivationGrid]] = {}
    packed = ABOUT in about
    if packed:
        simulated = _unpacked(file)
        contents, grids = Contents.of(simulated.state_dict()), simulated.activations
    made = _decomposed(module, contents.tensors, file)
    _require_ranks(made, file)
    replace(module, made)
    if packed:
        _fold(module, contents.tensors)
    return Rebuilt(contents, grids, (_note(file, len(made)),))


def _unpacked(file: Path) -> Any:
    try:
        return load_simulated(file)
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"The weights file '{file}' says that it holds TDQ's packed integers, and does not: export the run again."
        ) from error


def _decomposed(module: nn.Module, tensors: Mapping[str, Any], file: Path) -> dict[str, nn.Module]:
    """By name, what takes the places of the layers that are stored in stages."""
    made: dict[str, nn.Module] = {}
    for name, layer in of_kind(module, _ConvNd, nn.Linear).items():
        if f"{name}.weight" not in tensors and (weights := stages_in(name, tensors)):
            try:
                made[name] = stored_layers(layer, weights)
            except InputError as error:
                raise InputError(f"The layer '{name}' of the export '{file}' cannot be built: {error}.") from error
    return made


def _require_ranks(made: Mapping[str, nn.Module], file: Path) -> None:
    """InputError where the ranks beside the file are those of another one."""
    if not (beside := file.with_name(RANKS)).is_file():
        return
    ranks = read_ranks(str(beside))
    if strange := [name for name in made if ranks.get(name) is None]:
        raise InputError(
            f"The layer '{strange[0]}' is decomposed in the export '{file}' and not in '{beside}': they belong "
            "to different exports; export the run again, into a folder of its own."
        )


def _fold(module: nn.Module, tensors: Mapping[str, Any]) -> None:
    """Without the batch norms that were folded into layers before they were rounded, whose biases hold them."""
    gone = [
        name
        for name, norm in of_kind(module, _BatchNorm).items()
        if norm.state_dict() and not any(f"{name}.{key}" in tensors for key in norm.state_dict())
    ]
    replace(module, {name: nn.Identity() for name in gone})
    for name, layer in of_kind(module, _ConvNd, nn.Linear).items():
        bias = tensors.get(f"{name}.bias")
        if layer.bias is None and isinstance(bias, Tensor):
            layer.bias = nn.Parameter(torch.zeros_like(bias), requires_grad=False)


def _note(file: Path, layers: int) -> str:
    try:
        told = read_json(file.with_name(RECORD))
        run = f" (run {told['run_id']}: {told['spec']['method']}, {told['spec']['precision']})"
    except (OSError, ValueError, LookupError, TypeError):
        run = ""
    return (
        f"The weights are a network that TDQ exported{run}, {layers or 'no'} layers of it decomposed: as it is, it is "
        "the dense network here, and drops are taken from it."
    )
