"""The study's figures as named views: which runs each of them draws, how, and in which words. Plain values.

A view's key stands in the URL, so that an address leads to the same picture for as long as its runs are there.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from cached_runs.study import CP_RATIOS, MATRICES, RATIOS, tucker2_of
from tdq_core.records.record import RunRecord
from tdq_core.specs import BACKENDS, PRECISIONS, Decomposition, PrecisionSpec, RunSpec, Treatment
from tdq_core.specs.variant import Variant, variant_of

TUCKER2, CP = Variant("tucker2"), Variant("cp")
Kind = Literal["curves", "recipes", "networks"]
"""How a view is drawn."""


class Line(NamedTuple):
    """Runs that are alike but for their ratio.

    Attributes:
        policy: how the ratio was shared out over the layers.
        condition: None where it does not apply.
    """

    label: str
    variant: Variant
    precision: str = "fp32"
    backend: str = "torch"
    policy: str = "uniform"
    condition: bool | None = None

    @property
    def colour(self) -> str:
        return self.variant.colour

    @property
    def dash(self) -> str:
        """Plotly's pattern: the backend's, or that of the numbers."""
        return BACKENDS[self.backend].dash or PRECISIONS[self.precision].dash

    @property
    def symbol(self) -> str:
        """Plotly's marker: that of the numbers, hollow where factors are not conditioned, dotted where calibrated."""
        return PRECISIONS[self.precision].symbol + "-open" * (self.condition is False) + "-dot" * self.variant.fitted

    def is_plain(self, other: "Line") -> bool:
        """Whether this line is the other one in fp32."""
        return self.precision == "fp32" and (self.variant, self.policy) == (other.variant, other.policy)

    def holds(self, record: RunRecord) -> bool:
        """Whether the run belongs on this line; the dense model of the same cell is its start, at ratio 1."""
        spec, made = record.spec, record.spec.decomposition
        if record.state != "complete" or spec.precision != _numbers(self.precision, self.backend):
            return False
        if spec.treatment != _untreated(spec.treatment.condition):
            return False
        if made is None:
            return True
        shared = (made.rule.kind, made.rule.policy, made.rule.budget) == ("ratio", self.policy, "params")
        if not shared or self.condition not in (None, spec.treatment.condition) or _as_drawn(spec) != self.variant:
            return False
        return made == Decomposition(made.method, made.rule, epc=made.epc, eta=made.eta, calibrated=made.calibrated)


@functools.cache
def _numbers(precision: str, backend: str) -> PrecisionSpec:
    """Asked for every run and line: values are checked when they are made."""
    return PrecisionSpec(precision, backend)


@functools.cache
def _untreated(condition: bool) -> Treatment:
    return Treatment(condition=condition)


def _as_drawn(spec: RunSpec) -> Variant:
    """The variant; `auto` counts as Tucker-2 where the study's networks take it in its place."""
    variant = variant_of(spec)
    return variant._replace(method="tucker2") if variant.method == tucker2_of(spec.model.name) else variant


class Beside(NamedTuple):
    """Two lines whose drops are told beside each other; `what` says what differs."""

    line: Line
    other: Line
    what: str


class View(NamedTuple):
    """A named figure.

    Attributes:
        question: what it asks.
        kind: how it is drawn; lines: what it draws, none where it is no figure of curves.
        remark: what a reader of the curves must know; `{calib_samples}` stands for the number of calibration images.
        beside: what is compared in words.
        ratios: of a network, those that its lines can reach; out_of_reach: what is said where there are none.
    """

    key: str
    title: str
    question: str
    kind: Kind
    lines: tuple[Line, ...] = ()
    remark: str = ""
    beside: Beside | None = None
    ratios: Callable[[str], Sequence[float]] = lambda model: RATIOS
    out_of_reach: str = ""

    @property
    def of_all(self) -> bool:
        """Whether it shows all networks, whichever is chosen."""
        return self.kind == "networks"

    def remarks(self, model: str, calib_samples: int) -> list[str]:
        """Paragraphs under the curves of a network."""
        told = [self.remark.format(calib_samples=f"{calib_samples:,}")] if self.remark else []
        stands_in = model in MATRICES and any(line.variant.method == TUCKER2.method for line in self.lines)
        return [*told, _MATRICES] if stands_in else told


class Point(NamedTuple):
    """A run on a line."""

    ratio: float
    record: RunRecord


def _tucker2(policy: str) -> tuple[Line, ...]:
    return (
        Line("FP32", TUCKER2, policy=policy),
        Line("FP16, PyTorch", TUCKER2, "fp16", policy=policy),
        Line("INT8, PyTorch", TUCKER2, "int8", policy=policy),
        Line("INT8, ONNX Runtime", TUCKER2, "int8", "onnxruntime", policy),
    )


_CP = (
    Line("CP, FP32", CP),
    Line("CP, INT8 as it is", CP, "int8", "onnxruntime", condition=False),
    Line("CP, INT8 conditioned", CP, "int8", "onnxruntime", condition=True),
    Line("CP + EPC, FP32", CP._replace(epc=True)),
    Line("CP + EPC, INT8", CP._replace(epc=True), "int8", "onnxruntime", condition=True),
    Line("CP + EPC calibrated, FP32", Variant("cp", epc=True, fitted=True)),
    Line("CP + EPC calibrated, INT8", Variant("cp", epc=True, fitted=True), "int8", "onnxruntime", condition=True),
)
_FITTED = (
    Line("Weights, FP32", TUCKER2),
    Line("Weights, INT8", TUCKER2, "int8", "onnxruntime"),
    Line("Outputs, FP32", TUCKER2._replace(fitted=True), policy="global"),
    Line("Outputs, INT8", TUCKER2._replace(fitted=True), "int8", "onnxruntime", "global"),
)
_MATRICES = (
    "Much of this network is in 1x1 convolutions and linear layers, which Tucker-2 leaves dense: the lines are of the "
    "method `auto`, which takes Tucker-2 for larger kernels and SVD for these."
)

NETWORKS = View("networks", "The networks", "What was trained, how large is it, and how good?", "networks")
TUCKER2_ALL = View(
    "tucker2-all", "Tucker-2, all layers", "How much accuracy does Tucker-2 cost, and INT8 after it?", "curves",
    _tucker2("uniform"),
)  # fmt: skip
TUCKER2_LATER = View(
    "tucker2-later", "Tucker-2, later layers", "Is it better to leave early layers alone?", "curves",
    _tucker2("later"),
    beside=Beside(_tucker2("later")[0], TUCKER2_ALL.lines[0],
                  "FP32 drops in points, later layers first instead of all alike"),
)  # fmt: skip
CALIBRATED = View(
    "calibrated", "Fitted to outputs", "What do a few unlabelled images buy, with neither labels nor retraining?",
    "curves", _FITTED,
    remark="'Weights': factors that come closest to the weights, the ratio shared out to all layers alike. 'Outputs': "
    "factors that come closest to each layer's outputs on {calib_samples} unlabelled training images, in the network "
    "as it is compressed so far, and ranks where they cost least output error. INT8 is ONNX Runtime's.",
    beside=Beside(_FITTED[3], _FITTED[1], "INT8 drops in points, fitted to outputs instead of to weights"),
)  # fmt: skip
CP_INT8 = View(
    "cp-int8", "CP + INT8", "Why does CP fail in INT8, and what mends it?", "curves", _CP,
    remark="All INT8 lines here are ONNX Runtime's. 'As it is' quantizes what least squares gives; 'conditioned' first "
    "balances ranges and mixes components without changing what the layer computes. The page *Components* shows what "
    "is behind it.",
    ratios=lambda model: CP_RATIOS.get(model, RATIOS),
    out_of_reach="CP factorises kernels larger than 1x1, and too little of this network is in them: not even rank 1 "
    "everywhere makes the whole network 1.25 times smaller, so that there is no curve to draw. Its linear layers take "
    "SVD: see the view *Tucker-2, all layers*.",
)  # fmt: skip
RECIPES = View(
    "recipes", "Two recipes", "The study's pipeline against TDQ's own, both in INT8: size and drop.", "recipes"
)
VIEWS = (TUCKER2_ALL, TUCKER2_LATER, CP_INT8, CALIBRATED, RECIPES, NETWORKS)
ELSEWHERE = {"additivity": "additivity", "components": "components"}
"""Figures that had an address here, with the page that answers their question."""


def points_of(line: Line, records: Iterable[RunRecord]) -> tuple[Point, ...]:
    """The line's runs by the ratio that was reached, the dense model first."""
    found = [Point(r.metrics.compression_ratio, r) for r in records if line.holds(r) and r.metrics]
    return tuple(sorted(found, key=lambda p: p.ratio))


def drawn_runs(view: View, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Every run that the view draws, each once."""
    runs = [p.record for line in view.lines for p in points_of(line, records)]
    return list({r.run_id: r for r in runs}.values())
