"""The pipelines that a recipe tries, each over the same ratios. No torch here."""

from dataclasses import dataclass, replace

from tdq_core.recipes.target import Call
from tdq_core.specs import RankRule, RunSpec

SPEEDS = (1.1, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 5.0)
"""Time of the dense INT8 model / that of the plan."""
RATIOS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Whole-model params, original / compressed."""


@dataclass(frozen=True)
class Arm:
    """A pipeline with one number left open, the ratio.

    Attributes:
        name: for tables.
        text: what it does, for a sentence.
        method, epc, calibrated, policy, precision: fields of the spec.
        ends: whether the first convolution and the classifier are decomposed too.
    """

    name: str
    text: str
    method: str = "none"
    epc: bool = False
    calibrated: bool = False
    policy: str = "uniform"
    precision: str = "int8"
    ends: bool = False

    def spec(self, plain: RunSpec, ratio: float | None, finetune: int, call: Call | None = None) -> RunSpec:
        """The run of this pipeline at `ratio` (None: the dense model), through ONNX Runtime.

        Args:
            call: whose time the ratio is of; None: it is of params.
        """
        ends = plain.changed(precision=self.precision, backend="onnxruntime")
        if self.method == "none" or ratio is None:
            return ends
        by_time = {"budget": "latency", "batch": call.batch, "threads": call.threads} if call else {}
        rule = RankRule("ratio", ratio, policy=self.policy, keep_ends=not self.ends, **by_time)  # type: ignore[arg-type]
        steps = finetune if self.calibrated else 0
        return ends.changed(method=self.method, rule=rule, epc=self.epc, calibrated=self.calibrated, finetune=steps)


REFERENCE = Arm("fp32", "the dense model", precision="fp32")
"""What sizes and latencies are compared with; it is no answer to a target."""
DENSE = Arm("dense", "INT8 alone, nothing decomposed")
STUDY = Arm(
    "study", "the study's pipeline: Tucker-2 of the weights, later layers first, then INT8", "tucker2", policy="later"
)
OWN = (
    Arm("cp", "CP with EPC fitted to outputs, conditioned, then INT8", "cp", epc=True, calibrated=True),
    Arm("tucker2", "Tucker-2 fitted to outputs, ranks of least output error, conditioned, then INT8", "tucker2",
        calibrated=True, policy="global"),
)  # fmt: skip
ARMS = (*OWN, STUDY)
MIXED = Arm(
    "mixed", "the form of least output error for its time, layer by layer, fitted to outputs, conditioned, then INT8",
    "mixed", calibrated=True, policy="global", ends=True,
)  # fmt: skip
FAST = (OWN[1], MIXED)
"""Planned by the times of the layers."""


def arms(*, foreseen: bool, by_time: bool = False) -> tuple[Arm, ...]:
    """The pipelines in the order in which they are followed; where what they lose can be foreseen, our own share ranks
    out by that."""
    own: tuple[Arm, ...] = FAST if by_time else OWN
    if foreseen:
        own = tuple(replace(arm, policy="predicted", text=_BY_PREDICTION[arm.name]) for arm in own)
    return own if by_time else (*own, STUDY)


_BY_PREDICTION = {
    "cp": "CP with EPC fitted to outputs, ranks of least predicted drop, conditioned, then INT8",
    "tucker2": "Tucker-2 fitted to outputs, ranks of least predicted drop, conditioned, then INT8",
    "mixed": "the form of least predicted drop for its time, layer by layer, fitted to outputs, conditioned, then INT8",
}
