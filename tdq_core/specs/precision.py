"""Precisions and backends as rows: bits, what is rounded, labels. No torch here.

A new one is a row here; what carries out a new kind of precision stands in `tdq_core.compression.quantize.prepare`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What numbers a model is made of.

    Attributes:
        name: in specs, records and commands; label: for people; text: for a list of choices.
        kind: how it is carried out: 'fp32', 'fp16', 'int8' or 'simulated' (rounded to the grid, computed in fp32).
        weight_bits: bits of a weight.
        activation_bits: bits of an activation that is rounded to integers; None: it stays a float.
        symbol: plotly's marker; dash: its pattern of a line.
    """

    name: str
    label: str
    text: str
    kind: str
    weight_bits: int
    activation_bits: int | None = None
    symbol: str = "circle"
    dash: str = "longdash"

    @property
    def integer(self) -> bool:
        """Whether values are integers on a grid."""
        return self.kind in ("int8", "simulated")

    @property
    def simulated(self) -> bool:
        return self.kind == "simulated"


def _simulated(weights: int, activations: int | None, symbol: str) -> Precision:
    name = f"w{weights}" + (f"a{activations}" if activations else "")
    text = f"{weights}-bit weights" + (f", {activations}-bit activations" if activations else "")
    return Precision(
        name=name, label=f"{name.upper()} (simulated)", text=f"{text} (simulated)", kind="simulated",
        weight_bits=weights, activation_bits=activations, symbol=symbol,
    )  # fmt: skip


_ROWS = (
    Precision(name="fp32", label="FP32", text="FP32", kind="fp32", weight_bits=32, symbol="circle", dash="solid"),
    Precision(name="fp16", label="FP16", text="FP16", kind="fp16", weight_bits=16, symbol="square", dash="dot"),
    Precision(name="int8", label="INT8", text="INT8", kind="int8", weight_bits=8, activation_bits=8, symbol="diamond",
              dash="dash"),
    _simulated(8, None, "triangle-up"),
    _simulated(6, None, "triangle-down"),
    _simulated(4, None, "triangle-right"),
    _simulated(3, None, "triangle-left"),
    _simulated(2, None, "triangle-ne"),
    _simulated(8, 8, "pentagon"),
    _simulated(6, 6, "hexagon2"),
    _simulated(4, 8, "star"),
    _simulated(4, 4, "star-diamond"),
    _simulated(3, 8, "star-square"),
)  # fmt: skip
PRECISIONS: dict[str, Precision] = {row.name: row for row in _ROWS}
"""Every precision that a run can ask for, in the order in which it is shown."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What runs a model.

    Attributes:
        kinds: of precisions that it carries out; also: single ones of other kinds, by name.
        generation: by kind, raised when what is written changes: an older run is not taken for one of today.
        dash: plotly's pattern of a line of its runs; '' where it is that of the precision.
    """

    name: str
    label: str
    kinds: tuple[str, ...]
    generation: dict[str, int]
    dash: str = ""
    also: tuple[str, ...] = ()

    def carries_out(self, precision: Precision) -> bool:
        """Whether it has a file of that precision, and runs it."""
        return precision.kind in self.kinds or precision.name in self.also


TORCH = Backend(name="torch", label="PyTorch", kinds=("fp32", "fp16", "int8", "simulated"), generation={"simulated": 2})
ONNXRUNTIME = Backend(
    name="onnxruntime", label="ONNX Runtime", kinds=("fp32", "fp16", "int8"), generation={"int8": 2, "simulated": 2},
    dash="dashdot",
    also=("w4", "w4a8"),
)  # fmt: skip
BACKENDS: dict[str, Backend] = {row.name: row for row in (TORCH, ONNXRUNTIME)}


def precisions_of(backend: Backend) -> list[Precision]:
    """The precisions that a backend carries out."""
    return [p for p in PRECISIONS.values() if backend.carries_out(p)]


def deployed() -> tuple[str, ...]:
    """Names of the precisions that are computed as they are stored, by any backend: fp32, fp16 and int8."""
    return tuple(p.name for p in PRECISIONS.values() if not p.simulated)


def simulated() -> tuple[str, ...]:
    """Names of the precisions that are simulated."""
    return tuple(p.name for p in PRECISIONS.values() if p.simulated)
