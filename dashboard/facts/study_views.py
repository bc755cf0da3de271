"""The study's figures as named views: which runs each of them draws, and how. Plain values, no streamlit.

A view's key stands in the URL, so that an address leads to the same picture for as long as its runs are there.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cached_runs.study import MATRICES
from dashboard.words.palette import METHOD_COLOURS, decomposition
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec


class Line(NamedTuple):
    """Runs that are alike but for their ratio.

    Attributes:
        method: as `palette.decomposition` names it.
        policy: how the ratio was shared out over the layers.
        condition: None where it does not apply.
        dash: plotly's name of the line's pattern.
    """

    label: str
    method: str
    precision: str = "fp32"
    backend: str = "torch"
    policy: str = "uniform"
    condition: bool | None = None
    dash: str = "solid"
    symbol: str = "circle"

    @property
    def colour(self) -> str:
        return METHOD_COLOURS[self.method]

    def is_plain(self, other: "Line") -> bool:
        """Whether this line is the other one in fp32."""
        return self.precision == "fp32" and (self.method, self.policy) == (other.method, other.policy)

    def holds(self, record: RunRecord) -> bool:
        """Whether the run belongs on this line; the dense model of the same cell is its start, at ratio 1."""
        spec = record.spec
        if record.state != "complete" or (spec.precision, spec.backend) != (self.precision, self.backend):
            return False
        if (spec.granularity, spec.ranges, spec.finetune, spec.reestimate_bn) != ("channel", "minmax", 0, False):
            return False
        if spec.method == "none":
            return True
        rule = spec.rule
        if rule is None or (rule.kind, rule.policy, rule.budget) != ("ratio", self.policy, "params"):
            return False
        return _as_drawn(spec) == self.method and self.condition in (None, spec.condition) and not spec.symmetric


def _as_drawn(spec: RunSpec) -> str:
    """The decomposition; `auto` counts as Tucker-2 where the study's networks take it in its place."""
    name = decomposition(spec)
    return name.replace("auto", "tucker2") if spec.model in MATRICES else name


class View(NamedTuple):
    """A named figure: its title, what it asks, and its lines (none where it is drawn another way)."""

    key: str
    title: str
    question: str
    lines: tuple[Line, ...] = ()


class Point(NamedTuple):
    """A run on a line."""

    ratio: float
    record: RunRecord


def _tucker2(policy: str) -> tuple[Line, ...]:
    return (
        Line("FP32", "tucker2", policy=policy),
        Line("FP16, PyTorch", "tucker2", "fp16", policy=policy, dash="dot", symbol="square"),
        Line("INT8, PyTorch", "tucker2", "int8", policy=policy, dash="dash", symbol="diamond"),
        Line("INT8, ONNX Runtime", "tucker2", "int8", "onnxruntime", policy, dash="dashdot", symbol="diamond-open"),
    )


_CP = (
    Line("CP, FP32", "cp"),
    Line("CP, INT8 as it is", "cp", "int8", "onnxruntime", condition=False, dash="dash", symbol="diamond-open"),
    Line("CP, INT8 conditioned", "cp", "int8", "onnxruntime", condition=True, dash="dash", symbol="diamond"),
    Line("CP + EPC, FP32", "cp + epc"),
    Line("CP + EPC, INT8", "cp + epc", "int8", "onnxruntime", condition=True, dash="dash", symbol="diamond"),
    Line("CP + EPC calibrated, FP32", "cp + epc + calibrated"),
    Line("CP + EPC calibrated, INT8", "cp + epc + calibrated", "int8", "onnxruntime", condition=True, dash="dash",
         symbol="diamond"),
)  # fmt: skip

_FITTED = (
    Line("Weights, FP32", "tucker2"),
    Line("Weights, INT8", "tucker2", "int8", "onnxruntime", dash="dash", symbol="diamond"),
    Line("Outputs, FP32", "tucker2 + calibrated", policy="global"),
    Line("Outputs, INT8", "tucker2 + calibrated", "int8", "onnxruntime", "global", dash="dash", symbol="diamond"),
)

NETWORKS = View("networks", "The networks", "What was trained, how large is it, and how good?")
TUCKER2_ALL = View(
    "tucker2-all", "Tucker-2, all layers", "How much accuracy does Tucker-2 cost, and INT8 after it?",
    _tucker2("uniform"),
)  # fmt: skip
TUCKER2_LATER = View(
    "tucker2-later", "Tucker-2, later layers", "Is it better to leave early layers alone?", _tucker2("later")
)
CALIBRATED = View(
    "calibrated",
    "Fitted to outputs",
    "What do a few unlabelled images buy, with neither labels nor retraining?",
    _FITTED,
)
ADDITIVITY = View("additivity", "Do the drops add up?", "Is the joint drop of TD and Q the sum of the separate ones?")
CP_INT8 = View("cp-int8", "CP + INT8", "Why does CP fail in INT8, and what mends it?", _CP)
COMPONENTS = View("components", "Component ranges", "What do CP's components look like before and after EPC?")
RECIPES = View("recipes", "Two recipes", "The study's pipeline against TDQ's own, both in INT8: size and drop.")
VIEWS = (TUCKER2_ALL, TUCKER2_LATER, ADDITIVITY, CP_INT8, COMPONENTS, CALIBRATED, RECIPES, NETWORKS)


def points_of(line: Line, records: Iterable[RunRecord]) -> tuple[Point, ...]:
    """The line's runs by the ratio that was reached, the dense model first."""
    found = [Point(r.metrics.compression_ratio, r) for r in records if line.holds(r) and r.metrics]
    return tuple(sorted(found, key=lambda p: p.ratio))


def drawn_runs(view: View, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Every run that the view draws, each once."""
    runs = [p.record for line in view.lines for p in points_of(line, records)]
    return list({r.run_id: r for r in runs}.values())
