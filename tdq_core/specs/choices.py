"""The smaller choices of a run as rows: how ranks are chosen and shared out, how integers are scaled. No torch here.

A policy is a row here and a function in `tdq_core.ranks.policies`, a rank rule a row here and a planner in
`tdq_core.ranks.plan`; the command line, the page and the tables follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A name, what people read, and a sentence."""

    name: str
    label: str
    help: str = ""


@dataclass(frozen=True, kw_only=True)
class Policy(Choice):
    """How a ratio is shared out over the layers.

    Attributes:
        by_spectrum: it needs the layers' spectra.
        by_prediction: it needs a method whose error the spectra predict.
        by_ladder: a layer's ranks are rungs of its ladder.
        by_sensitivities: it needs what the layers do to the answers, see `tdq sensitivity`.
        has_depth: the exponent `depth` belongs to it.
    """

    by_spectrum: bool = False
    by_prediction: bool = False
    by_ladder: bool = False
    by_sensitivities: bool = False
    has_depth: bool = False

    @property
    def finds_forms(self) -> bool:
        """Whether it finds the method of a layer with its ranks, by what each form loses."""
        return self.by_prediction or self.by_sensitivities


POLICIES: dict[str, Policy] = {
    row.name: row
    for row in (
        Policy(
            name="uniform", label="same share", by_ladder=True,
            help="every layer keeps the same share of what the ratio counts",
        ),
        Policy(
            name="later", label="later layers first", by_ladder=True, has_depth=True,
            help="the deeper a layer, the more it gives up",
        ),
        Policy(
            name="energy", label="kept energy", by_spectrum=True,
            help="every layer keeps the same share of its squared singular values",
        ),
        Policy(name="vbmf", label="VBMF", by_spectrum=True, help="EVBMF ranks, weakened by one factor"),
        Policy(
            name="global", label="least output error", by_spectrum=True, by_prediction=True,
            help="the smallest sum of the layers' errors that their singular values predict; layers may stay dense",
        ),
        Policy(
            name="predicted", label="least predicted drop", by_sensitivities=True,
            help="the smallest sum of what the layers do to the answers, which is measured once; layers may stay dense",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RuleKind(Choice):
    """A way to choose ranks.

    Attributes:
        by_spectrum: it needs the layers' spectra.
    """

    by_spectrum: bool = False


RULES: dict[str, RuleKind] = {
    row.name: row
    for row in (
        RuleKind(name="ratio", label="ratio",
                 help="Whole-model params, MACs, bytes or latency, original / compressed, above 1."),
        RuleKind(name="energy", label="kept energy", by_spectrum=True,
                 help="Share of squared singular values that is kept, in (0, 1]."),
        RuleKind(name="vbmf", label="VBMF", by_spectrum=True,
                 help="Ranks by EVBMF: the signal that stands out of noise."),
        RuleKind(name="manual", label="by hand", help="Ranks layer by layer."),
    )
}  # fmt: skip

BUDGETS: dict[str, Choice] = {
    row.name: row
    for row in (
        Choice(name="params", label="params"),
        Choice(name="macs", label="MACs"),
        Choice(name="bytes", label="bytes", help="of the packed file of simulated bits, against the dense fp32 file"),
        Choice(name="latency", label="latency",
               help="of the dense network at the same precision, in ONNX Runtime on this machine (`tdq layer-times`)"),
    )
}  # fmt: skip
BITS: dict[str, Choice] = {
    row.name: row
    for row in (
        Choice(name="same", label="the same everywhere"),
        Choice(
            name="auto", label="chosen with ranks", help="8, 6, 4 or 3 bits a layer, at most those of the precision"
        ),
    )
}
GRANULARITIES: dict[str, Choice] = {
    row.name: row
    for row in (
        Choice(name="channel", label="one scale per output channel"),
        Choice(name="tensor", label="one scale per weight tensor"),
    )
}
RANGES: dict[str, Choice] = {
    row.name: row
    for row in (
        Choice(name="minmax", label="min-max ranges", help="every value is held"),
        Choice(
            name="mse", label="least-error ranges",
            help="outliers are clipped where that makes the squared rounding error smaller",
        ),
    )
}  # fmt: skip
SOLVERS: dict[str, Choice] = {
    row.name: row
    for row in (
        Choice(name="tdq", label="TDQ's own"),
        Choice(name="tensorly", label="tensorly", help="partial_tucker and parafac, as the study used them"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Effort(Choice):
    """How long CP is looked for.

    Attributes:
        times: so many times the usual random starts and sweeps.
        climbs: it grows from lower ranks, which serve all ranks above.
    """

    times: float
    climbs: bool = False


EFFORTS: dict[str, Effort] = {
    row.name: row
    for row in (
        Effort(name="quick", label="quick", times=0.125, climbs=True,
               help="grown from lower ranks that are kept, so that a further rank takes a fraction: to look around"),
        Effort(name="usual", label="usual", times=1.0),
        Effort(name="thorough", label="thorough", times=4.0, help="four times the starts and sweeps"),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Preset(Choice):
    """Options that go together, by their names in JSON; those that are given beside it count more."""

    options: Mapping[str, Any]


PRESETS: dict[str, Preset] = {
    row.name: row
    for row in (
        Preset(
            name="study", label="as in the study",
            help="Tucker-2 of the weights by tensorly, integers without conditioning, as the study behind TDQ did it.",
            options={"method": "tucker2", "solver": "tensorly", "condition": False},
        ),
        Preset(
            name="best", label="the best known",
            help="each layer in the form that loses least (mixed), ranks of least output error (policy global), "
            "fitted to outputs; taken where a ratio is given and no method. Networks of small k x k kernels lose less "
            "still by --method cp --epc --calibrated, which takes longer.",
            options={"method": "mixed", "policy": "global", "calibrated": True},
        ),
    )
}  # fmt: skip
USUAL_PRESET = "best"
"""Where a ratio is given, and not how it is to be reached."""


def labels(rows: dict[str, Choice]) -> dict[str, str]:
    """What people read, by name."""
    return {name: row.label for name, row in rows.items()}


def helps(rows: dict[str, Choice]) -> dict[str, str]:
    """The sentences of those that have one, by name."""
    return {name: row.help for name, row in rows.items() if row.help}
