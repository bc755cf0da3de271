"""Every method, ratio, precision and backend on the embedded default, so that a newcomer sees real trade-off curves
and every additivity cell at once; CP to integers without conditioning as well, for contrast; Tucker-2 and
CP fitted to outputs; the latency of the dense model and of one CP; and a recipe with its runs.
"""

import itertools

from cached_runs.study import study_specs
from tdq_core.records.record import RunRecord
from tdq_core.records.table import method_text
from tdq_core.specs import RunSpec

MODEL, DATA = "digits_resnet", "digits"
EPC_RATIOS = (2.0, 3.0, 4.0)
TARGET = "drop<=1%"
SHOWN = ("tucker2", "tucker2 + calibrated", "cp", "cp + epc", "cp + epc + calibrated")


def digits_specs() -> tuple[RunSpec, ...]:
    """Every shipped run but those that a recipe tries: those of the sweep file."""
    return study_specs(MODEL)


def grid_of(records: list[RunRecord]) -> list[RunRecord]:
    """Those that `digits_specs` asks for: without what a recipe tried."""
    specs = list(digits_specs())
    return [record for record in records if record.spec in specs]


def readme_table(records: list[RunRecord]) -> str:
    """The README's table: top-1 by method and ratio in fp32, and by INT8 with the size of its file."""
    records = grid_of(records)
    by_ratio = [r for r in records if r.spec.rule is None or r.spec.rule.kind == "ratio"]
    found = {(method_text(r.spec), r.spec.rule.value if r.spec.rule else None, r.spec.precision.name,
              r.spec.precision.backend, r.spec.treatment.condition): r for r in by_ratio}  # fmt: skip
    lines = ["| | ratio | fp32 | INT8 | INT8, not conditioned | INT8 file | smaller than fp32 |", f"|{'---|' * 7}"]
    for method, ratio in [("none", None), *itertools.product(SHOWN, EPC_RATIOS)]:
        dense, small = (found[method, ratio, *kind, True] for kind in (("fp32", "torch"), ("int8", "onnxruntime")))
        assert dense.metrics and small.metrics, "shipped runs are complete"
        bare = found.get((method, ratio, "int8", "onnxruntime", False))
        lines.append(
            f"| {method} | {ratio or 1:g} | {_percent(dense)} | {_percent(small)} | {_percent(bare) if bare else ''} "
            f"| {small.metrics.bytes / 1000:.0f} kB | {small.bytes_ratio():.1f}x |"
        )
    return "\n".join(lines)


def _percent(record: RunRecord) -> str:
    assert record.metrics, "shipped runs are complete"
    return f"{100 * record.metrics.top1:.1f} %"
