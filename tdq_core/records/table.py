"""Records as the rows of one table: what `tdq csv`, the page's tables and its downloads all show. No torch here."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec
from tdq_core.specs.bits import bits_text
from tdq_core.specs.variant import variant_of

COLUMNS = (
    "run_id", "state", "model", "data", "split", "method", "epc_eta", "calibrated", "symmetric", "finetune",
    "reestimate_bn", "ranks", "precision", "backend",
    "conditioned", "granularity", "ranges", "quantization_aware", "inner_bits", "bits",
    "top1", "top1_low", "top1_high", "n", "drop", "drop_low", "drop_high", "baseline_top1",
    "params", "macs", "bytes", "compression_ratio", "bytes_ratio", "latency_ms", "seed", "weights", "reason", "notes",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row(record: RunRecord) -> dict[str, Any]:
    """One record as one flat row; the cells of what was not measured are None. Full precision, no rounding."""
    spec, metrics = record.spec, record.metrics
    flat = spec.to_flat()
    values: dict[str, Any] = {name: flat[name] for name in COLUMNS if name in flat} | {
        "run_id": record.run_id,
        "state": record.state,
        "split": record.provenance.get("split"),
        "epc_eta": flat["eta"] if flat["epc"] else None,
        "ranks": ranks_text(spec),
        "conditioned": spec.conditioned,
        "granularity": flat["granularity"] if spec.quantized else None,
        "ranges": flat["ranges"] if spec.quantized else None,
        "bits": bits_cell(spec),
        "weights": record.provenance.get("weights"),
        "reason": record.reason,
        "notes": " ".join(record.notes),
    }
    if metrics and record.baseline:
        names = ("top1", "top1_low", "top1_high", "n", "params", "macs", "bytes", "compression_ratio")
        values |= {name: getattr(metrics, name) for name in names}
        values |= dict(zip(("drop", "drop_low", "drop_high"), record.drop(), strict=True))
        values |= {"baseline_top1": record.baseline.top1, "bytes_ratio": record.bytes_ratio()}
        values["latency_ms"] = metrics.latency.median_ms if metrics.latency else None
    return {name: values.get(name) for name in COLUMNS}


def bits_cell(spec: RunSpec) -> str | None:
    """How the bits of weights were given: 'auto', or as a command writes them; None where all are the precision's."""
    by_hand = spec.precision.bits_by_hand
    if by_hand is not None:
        return bits_text(by_hand)
    return None if spec.precision.bits == "same" else str(spec.precision.bits)


def method_text(spec: RunSpec) -> str:
    """The method for people: 'tucker2', 'cp + epc + calibrated', 'cp + fine-tuned + bn'."""
    made, treatment = spec.decomposition, spec.treatment
    parts = {
        "symmetric": made and made.symmetric, "tensorly": made and made.solver != "tdq",
        "fine-tuned": treatment.finetune, "bn": treatment.reestimate_bn,
    }  # fmt: skip
    return " + ".join([variant_of(spec).text, *(part for part, there in parts.items() if there)])


def numbers_text(spec: RunSpec) -> str:
    """The precision for people, and how its integers are found where that is unusual: 'w4a8 + aware'."""
    numbers = spec.precision
    parts = {
        "aware": numbers.quantization_aware, f"inner {numbers.inner_bits}": numbers.inner_bits,
        "auto": numbers.bits == "auto", "bits by hand": numbers.bits_by_hand,
        "mse": numbers.ranges == "mse", "tensor": numbers.granularity == "tensor",
    }  # fmt: skip
    return " + ".join([numbers.name, *(part for part, there in parts.items() if there)])


def ranks_text(spec: RunSpec) -> str:
    """How the ranks were chosen, for people: 'ratio 1.67', 'energy 0.9', 'vbmf', 'by hand (3 layers)'."""
    rule = spec.rule
    if rule is None:
        return ""
    if rule.kind == "manual":
        return f"by hand ({len(rule.ranks)} layer{'s' * (len(rule.ranks) != 1)})"
    text = rule.kind if rule.kind == "vbmf" and rule.value == 1 else f"{rule.kind} {rule.value:g}"
    if rule.kind == "ratio":
        text += f" of {rule.budget}" * (rule.budget != "params") + f", {rule.policy}" * (rule.policy != "uniform")
        text += f" {rule.depth:g}" * (rule.depth != 1) + f", multiples of {rule.multiple}" * (rule.multiple > 1)
    return text + ("" if rule.keep_ends else ", ends too") + ", bits by layer" * (spec.precision.bits == "auto")


def to_csv(records: Iterable[RunRecord]) -> str:
    """All records as CSV; a text that a spreadsheet would run as a formula is prefixed with an apostrophe."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: _harmless(v) for k, v in row(record).items()})
    return file.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
