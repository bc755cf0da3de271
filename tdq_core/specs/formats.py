"""What a run can be handed on as: formats of files as rows. No torch here."""

from dataclasses import dataclass

from tdq_core.errors import InputError
from tdq_core.specs.option import require_choice
from tdq_core.specs.precision import BACKENDS
from tdq_core.specs.run import RunSpec


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of file.

    Attributes:
        name: in commands, and the ending of the file; label: for people; text: what it is.
        backend: what runs it in the measured run.
        kinds: of precisions that it can hold.
        rebuilt: TDQ builds the network again and loads the file into it; otherwise the file runs without TDQ.
    """

    name: str
    label: str
    text: str
    backend: str
    kinds: tuple[str, ...]
    rebuilt: bool = False


_ROWS = (
    Format(name="onnx", label="ONNX", text="a graph for ONNX Runtime", backend="onnxruntime",
           kinds=("fp32", "fp16", "int8")),
    Format(name="safetensors", label="safetensors", text="weights and ranks, from which tdq_core.load builds a module",
           backend="torch", kinds=("fp32", "fp16", "simulated"), rebuilt=True),
    Format(name="pt2", label="torch.export", text="a program of torch.export", backend="torch",
           kinds=("fp32", "fp16", "int8")),
)  # fmt: skip
FORMATS: dict[str, Format] = {row.name: row for row in _ROWS}
"""What `tdq export --format` takes."""


def formats_of(spec: RunSpec) -> list[Format]:
    """The formats that can hold the numbers of `spec`."""
    return [row for row in FORMATS.values() if spec.precision.numbers.kind in row.kinds]


def file_format(spec: RunSpec) -> str:
    """The format of the file that a run itself leaves."""
    kind, backend = spec.precision.numbers.kind, spec.precision.backend
    return next(row.name for row in FORMATS.values() if row.backend == backend and kind in row.kinds)


def in_format(spec: RunSpec, name: str, *, opset: int | None = None) -> RunSpec:
    """The run whose file is of this format: `spec` itself, or the same on the backend that runs such files.

    Raises:
        InputError: no such format, one that cannot hold the run's numbers, or an opset without ONNX.
    """
    require_choice("format", name, FORMATS)
    chosen = FORMATS[name]
    if spec.precision.numbers.kind not in chosen.kinds:
        others = " or ".join(row.name for row in formats_of(spec))
        raise InputError(
            f"The format '{name}' is {chosen.text} and cannot hold {spec.precision.name}: export it as {others}."
        )
    if opset is not None and name != "onnx":
        raise InputError(f"The 'opset' is one of ONNX files. Got the format '{name}': leave it out.")
    kept = spec.precision.opset if chosen.backend == spec.precision.backend else None
    return spec.changed(backend=BACKENDS[chosen.backend].name, opset=opset or kept)
