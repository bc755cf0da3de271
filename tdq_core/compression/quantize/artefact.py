"""What a precision realisation needs and what it gives."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tdq_core.compression.quantize.scheme import Scheme, scheme_of
from tdq_core.errors import InputError
from tdq_core.graph.agreement import Predict
from tdq_core.specs.precision import Precision
from tdq_core.system import machine
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import all_threads


@dataclass(frozen=True)
class Request:
    """What every realisation may need.

    Attributes:
        example: (N >= 2, C, H, W) float32, a real batch: for tracing and for the check of an export.
        calibration: gives a fresh pass over unlabelled batches (N, C, H, W); needed for int8 and for nothing else.
        folder: where the artefact is written; made when it is absent.
        threads: threads of an ONNX Runtime session; None: as many as torch may use. The torch backend always uses
            torch's own setting, which belongs to the process.
        reduce_range: keep 8-bit weights within 7 bits; None: as this CPU needs it.
        opset: of an ONNX file; None: the usual one, see `onnx_version`.
        granularity, ranges: of integer weights and activations, see `quantize.scheme`.
        inner_bits: of activations between the factors of decomposed layers; None: as all activations.
        bits: of the weights of single layers of the model that was decomposed, by name; the others have those of the
            precision; simulated bits only.
        program: for torch, a program of torch.export instead of a state dict.
        aware: weights are found on their grid by what layers compute, see `quantize.aware`; simulated bits only.
    """

    example: Tensor
    calibration: Callable[[], Iterable[Tensor]] | None
    folder: Path
    threads: int | None = None
    on_progress: Progress = silent
    reduce_range: bool | None = None
    granularity: str = "channel"
    ranges: str = "minmax"
    opset: int | None = None
    aware: bool = False
    inner_bits: int | None = None
    bits: Mapping[str, int] = field(default_factory=dict)
    program: bool = False

    def __post_init__(self) -> None:
        if self.example.ndim != 4 or len(self.example) < 2 or self.example.dtype != torch.float32:
            raise InputError(
                "The 'example' of a realisation must be a float32 batch of at least two images, (N, C, H, W). "
                f"Got {str(self.example.dtype).removeprefix('torch.')} of shape {tuple(self.example.shape)}."
            )

    @property
    def reduced(self) -> bool:
        """Whether 8-bit weights stay within 7 bits."""
        return machine.needs_reduced_range() if self.reduce_range is None else self.reduce_range

    def scheme(self, precision: Precision) -> Scheme:
        """The integers that `precision` stands for here."""
        return scheme_of(precision, granularity=self.granularity, ranges=self.ranges, reduced=self.reduced)

    @property
    def session_threads(self) -> int:
        return self.threads or all_threads()


@dataclass(frozen=True)
class Artefact:
    """A model at one precision, as a real file.

    Attributes:
        path: the file on disk.
        bytes: its size, without the weights that no image reaches: a graph does not hold them, a state dict does.
        predict: (N, C, H, W) float32 to logits (N, classes) float32, without gradients; N may differ per call.
        details: what was done, as plain JSON values.
        notes: what a reader of the numbers must know.
    """

    path: Path
    bytes: int
    predict: Predict
    details: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def artefact(
    path: Path, predict: Predict, *, details: Mapping[str, Any], notes: tuple[str, ...] = (), unused: int = 0
) -> Artefact:
    """The artefact of a file that has been written, `unused` bytes of which are weights that no image reaches."""
    if unused:
        details = {**details, "bytes_unused": unused}
        notes = (
            *notes,
            f"The file also holds {unused:,} bytes of weights that no image reaches: they are not counted.",
        )
    return Artefact(path=path, bytes=path.stat().st_size - unused, predict=predict, details=details, notes=notes)
