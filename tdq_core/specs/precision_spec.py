"""Which numbers a run is made of, and what runs them: the part of a spec. No torch here."""

from typing import Annotated

from msgspec import Meta, structs

from tdq_core.errors import InputError
from tdq_core.layers.methods import METHODS, Method, chooses_forms
from tdq_core.specs.bits import FORM, ByLayer, checked_bits
from tdq_core.specs.choices import BITS, GRANULARITIES, RANGES, helps, labels
from tdq_core.specs.option import Flat, Option, require_choices
from tdq_core.specs.precision import BACKENDS, ONNXRUNTIME, PRECISIONS, TORCH, Precision, simulated
from tdq_core.specs.value import Value, shown

AUTO = "auto"
FEWEST = 3
"""Bits of a weight, where they are chosen layer by layer."""
TIMED = ("fp32", "int8")
"""Kinds of precisions whose layers can be timed one by one: halves are computed as float32 on a CPU."""
Bits = Annotated[int, Meta(ge=2, le=8)]
Opset = Annotated[int, Meta(ge=13, le=20)]  # a scale per output channel came with 13; both exporters write up to 20


def integer(flat: Flat) -> bool:
    """Whether values are integers on a grid."""
    return PRECISIONS[flat["precision"]].integer


def bits_can_be_chosen(flat: Flat) -> bool:
    """Whether the bits of weights can be chosen layer by layer: with ranks, by predicted errors, under bytes."""
    rule, numbers = flat.get("rule"), PRECISIONS[flat["precision"]]
    shared = rule is None or (rule.kind, rule.budget, rule.policy) == ("ratio", "bytes", "global")
    able = numbers.simulated and numbers.weight_bits > FEWEST and flat["method"] != "none" and shared
    return able and not flat["finetune"] and _is_predicted(flat["method"])


def _is_predicted(method: str) -> bool:
    """Whether spectra predict its error, or it takes methods of which they do."""
    asked = METHODS.get(method)
    return not isinstance(asked, Method) or bool(asked.predicts)


def require_choosable(flat: Flat) -> None:
    """InputError where the bits of weights are to be chosen layer by layer, and cannot be."""
    if flat["bits"] == AUTO and not _is_predicted(flat["method"]):
        able = " or ".join(name for name in METHODS if _is_predicted(name) and not chooses_forms(name))
        raise InputError(
            f"The 'bits' auto are chosen with ranks by errors that spectra predict, and no spectrum predicts that of "
            f"{METHODS[flat['method']].label}. Got them with the method '{flat['method']}': ask for {able}, or for "
            "ranks by another policy and bits by hand."
        )
    if flat["bits"] == AUTO and not bits_can_be_chosen(flat):
        raise InputError(
            f"The 'bits' auto are those of weights of more than {FEWEST} simulated bits, chosen together with ranks: "
            "give a method, --ratio, --budget bytes and --policy global, and no 'finetune'. Got them with the method "
            f"'{flat['method']}' and the precision '{flat['precision']}': give these, or bits by hand."
        )


def require_countable(budget: str, precision: str, backend: str) -> None:
    """InputError where a ratio counts what no arithmetic knows of such a file before it is written."""
    if budget == "latency" and not (backend == ONNXRUNTIME.name and PRECISIONS[precision].kind in TIMED):
        raise InputError(
            f"The budget 'latency' counts the time of files that ONNX Runtime computes with as they are "
            f"({', '.join(TIMED)} with the backend '{ONNXRUNTIME.name}'). Got the precision '{precision}' with the "
            f"backend '{backend}': ask for these, or count MACs."
        )
    if budget == "bytes" and not (PRECISIONS[precision].simulated and backend == TORCH.name):
        raise InputError(
            f"The budget 'bytes' counts the packed file of simulated bits ({', '.join(simulated())}), which the "
            f"backend '{TORCH.name}' writes. Got the precision '{precision}' with the backend '{backend}': ask for "
            "these, or count params."
        )


class PrecisionSpec(Value, frozen=True):
    """Which numbers, and what runs them.

    Attributes:
        name: see `tdq_core.specs.precision`.
        backend: what runs the model.
        granularity: one scale per output channel of a weight, or one per weight tensor; integers only.
        ranges: 'minmax', or 'mse' (the range of least squared rounding error); simulated bits only.
        quantization_aware: every layer is refitted and rounded in turn, in the metric of its outputs on the unlabelled
            calibration images, see `tdq_core.compression.quantize.aware`; simulated bits only.
        inner_bits: of the activations between a decomposed layer's factors; None: those of all activations.
        bits: 'same'; 'auto': each layer's weights have bits of their own, at most those of the precision, chosen
            together with its ranks, see `tdq_core.ranks.allocate`; or by hand, see `tdq_core.specs.bits`: what it does
            not name has those of the precision. Simulated bits only.
        opset: version of the ONNX operators of the file; None: 20. One that is given is written with nothing that an
            older runtime refuses: no operator sets that the file does not use.
    """

    name: Annotated[
        str,
        Option(
            flag="--precision",
            key="precision",
            label="Precision",
            choices=lambda: PRECISIONS,
            labels=lambda: {n: p.text for n, p in PRECISIONS.items()},
            help="Which numbers; w8 to w3a8 are simulated: rounded to the grid, computed in fp32.",
        ),
    ] = "fp32"
    backend: Annotated[
        str,
        Option(
            flag="--backend", label="Runs on", choices=lambda: BACKENDS,
            labels=lambda: {n: b.label for n, b in BACKENDS.items()}, help="What runs the model.",
        ),
    ] = "torch"  # fmt: skip
    granularity: Annotated[
        str,
        Option(
            flag="--granularity", label="Integer weights", choices=lambda: GRANULARITIES,
            labels=lambda: labels(GRANULARITIES), help="Scales of integer weights.", needs=integer,
            because="The 'granularity' is one of integer weights, int8 and below.",
        ),
    ] = "channel"  # fmt: skip
    ranges: Annotated[
        str,
        Option(
            flag="--ranges", label="Integer ranges", choices=lambda: RANGES, labels=lambda: labels(RANGES),
            helps=lambda: helps(RANGES),
            help="Simulated bits: minmax or mse (least rounding error).",
            needs=lambda f: PRECISIONS[f["precision"]].simulated and not f["quantization_aware"],
            because="The 'ranges' are those of simulated bits rounded to the nearest point: 'quantization_aware' "
            "finds its own.",
        ),
    ] = "minmax"  # fmt: skip
    quantization_aware: Annotated[
        bool,
        Option(
            flag="--quantization-aware", label="Quantization-aware",
            needs=lambda f: PRECISIONS[f["precision"]].simulated and not f["finetune"],
            help="Simulated bits: find weights on their grid by what layers compute on the calibration images.",
            because="What is 'quantization_aware' are simulated bits, without 'finetune': that rounds in its own loop.",
        ),
    ] = False  # fmt: skip
    inner_bits: Annotated[
        Bits | None,
        Option(
            flag="--inner-bits",
            needs=lambda f: bool(f["quantization_aware"]) and f["method"] != "none"
            and PRECISIONS[f["precision"]].activation_bits is not None,
            help="Quantization-aware: bits of the activations between a decomposed layer's factors (2 to 8).",
            because="The 'inner_bits' are those of activations inside decomposed layers, with 'quantization_aware'.",
        ),
    ] = None  # fmt: skip
    bits: Annotated[
        str | dict[str, int],
        Option(
            flag="--bits", label="Bits of weights", choices=lambda: BITS, labels=lambda: labels(BITS),
            helps=lambda: helps(BITS), needs=lambda f: PRECISIONS[f["precision"]].simulated and not f["finetune"],
            help="Simulated bits, one of same, auto (each layer's chosen with its ranks), or by hand: a JSON file or "
            "text such as '{\"*\": 4, \"conv1\": 8}', 2 to 8; a star is any text, the ends are named in full.",
            because="The 'bits' of single layers are those of simulated weights, without 'finetune', which rounds all "
            "layers alike.",
        ),
    ] = "same"  # fmt: skip
    opset: Annotated[
        Opset | None,
        Option(
            flag="--opset",
            needs=lambda f: f["backend"] == "onnxruntime" and not PRECISIONS[f["precision"]].simulated,
            help="Version of the ONNX operators (13 to 20), for older runtimes; see the record's lowest_onnxruntime.",
            because="The 'opset' is one of ONNX files: it takes the backend 'onnxruntime', and not 4-bit weights, "
            "which take opset 21.",
        ),
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        if not isinstance(self.bits, str):
            structs.force_setattr(self, "bits", checked_bits(self.bits))
        elif self.bits not in BITS:
            raise InputError(f"The 'bits' must be one of {', '.join(BITS)}, or by hand {FORM}. Got {shown(self.bits)}.")
        super().__post_init__()
        require_choices(self)
        backend = BACKENDS[self.backend]
        if not backend.carries_out(self.numbers):
            others = ", ".join(name for name in simulated() if name not in backend.also)
            these = ", ".join((*backend.kinds, *backend.also))
            raise InputError(
                f"The backend '{self.backend}' carries out {these}; other simulated bits "
                f"({others}) run with the backend 'torch'. Got the precision '{self.name}'."
            )

    def __hash__(self) -> int:
        return hash(tuple(map(repr, structs.astuple(self))))

    @property
    def bits_by_hand(self) -> ByLayer | None:
        """By layer name or pattern, where they are given by hand."""
        return None if isinstance(self.bits, str) else self.bits

    @property
    def numbers(self) -> Precision:
        """The description of the precision."""
        return PRECISIONS[self.name]

    @property
    def looks_at_images(self) -> bool:
        """Whether rounding a network as it is looks at calibration images: of activations, or quantization-aware."""
        return self.numbers.activation_bits is not None or self.quantization_aware
