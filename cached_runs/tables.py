"""Tables of the study's networks in Markdown, written from cards and records."""

from collections.abc import Mapping, Sequence
from typing import Any

from cached_runs.costs import read_costs
from cached_runs.study import NETWORKS, RATIOS
from tdq_core.analysis.additivity import Cells, find_cells
from tdq_core.models.registry import entry
from tdq_core.records.record import RunRecord
from tdq_core.records.store import shipped_folder
from tdq_core.records.table import method_text
from tdq_core.specs.variant import variant_of

ROWS = (
    ("tucker2", "uniform", True),
    ("tucker2", "later", True),
    ("tucker2 + calibrated", "global", True),
    ("cp", "uniform", False),
    ("cp", "uniform", True),
    ("cp + epc", "uniform", True),
    ("cp + epc + calibrated", "uniform", True),
    ("auto", "uniform", True),
    ("auto", "later", True),
    ("auto + calibrated", "global", True),
)
"""Method, policy, and whether INT8 is conditioned."""
GROUPS = ("tucker2, auto", "cp + epc", "cp", "cp, not conditioned")


def network_table() -> str:
    """Trained networks: costs, dense top-1 with its interval, what the training cost; and which are not trained."""
    lines = ["| network | params | MACs | top-1 on 5,000 test images [95 %] | training |", f"|{'---|' * 5}"]
    costs = read_costs(shipped_folder())
    for model in NETWORKS:
        weights = entry(model).weights
        if not weights or not weights.card:
            continue
        card, (params, macs) = weights.card, costs[model]
        score, recipe = card["scores"]["eval"], card["recipe"]
        low, high = 100 * score["top1_low"], 100 * score["top1_high"]
        lines.append(
            f"| `{model}` | {params:,} | {macs:,} | {100 * score['top1']:.2f} % [{low:.2f}, {high:.2f}] "
            f"| {recipe['epochs']} epochs, {card['seconds'] / 60:.0f} min on "
            f"{card['device'] if card['device'] != 'cpu' else threads_text(card) + ' of a CPU'} |"
        )
    missing = ", ".join(f"`{m}`" for m in NETWORKS if not ((w := entry(m).weights) and w.card))
    return "\n".join(lines) + (f"\n\nNot trained yet: {missing}." if missing else "")


def threads_text(card: Mapping[str, Any]) -> str:
    """'2 threads', of the session that ended the training."""
    return f"{card['threads']} thread{'s' * (card['threads'] != 1)}"


def count_table(models: Sequence[str], records: Sequence[RunRecord]) -> str:
    """How many runs are shipped of each network."""
    counts = [f"| `{m}` | {sum(r.spec.model.name == m for r in records)} |" for m in models]
    return "\n".join(["| network | runs |", "|---|---|", *counts])


def drops_tables(models: Sequence[str], records: Sequence[RunRecord]) -> str:
    """A `drops_table` for each network under a line that says on how many images, and what the dense model has."""
    parts = []
    for model in models:
        dense = next(r.baseline for r in records if r.spec.model.name == model and r.baseline)
        title = f"`{model}`, {dense.n:,} class-balanced test images, dense {100 * dense.top1:.1f} %:"
        parts += [title, drops_table(model, records)]
    return "\n\n".join(parts)


def drops_table(model: str, records: Sequence[RunRecord]) -> str:
    """Points of top-1 lost by method and ratio: fp32 / INT8 through ONNX Runtime; '-' where it was not measured."""
    own = [r for r in records if r.spec.model.name == model and r.metrics]
    lines = [f"| | {' | '.join(f'{r:g}x' for r in RATIOS)} |", f"|{'---|' * (len(RATIOS) + 1)}"]
    for method, policy, conditioned in ROWS:
        found = {
            (r.spec.rule.value, r.spec.precision.name): f"{100 * r.drop()[0]:.1f}".replace("-0.0", "0.0")
            for r in own
            if r.spec.rule
            and (method_text(r.spec), r.spec.rule.policy) == (method, policy)
            and (r.spec.precision.name, r.spec.precision.backend) in (("fp32", "torch"), ("int8", "onnxruntime"))
            and (not r.spec.quantized or r.spec.treatment.condition == conditioned)
        }
        if found:
            name = f"{method}, {policy}" if policy != "uniform" else method
            name += "" if conditioned else ", INT8 not conditioned"
            cells = [f"{found.get((ratio, 'fp32'), '-')} / {found.get((ratio, 'int8'), '-')}" for ratio in RATIOS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def additivity_table(models: Sequence[str], records: Sequence[RunRecord]) -> str:
    """By network and decomposition how many INT8 cells have an interaction whose interval contains zero, of how many,
    and the interaction that is largest in size, in points; '-' where none was measured."""
    lines = [f"| | {' | '.join(GROUPS)} |", f"|{'---|' * (len(GROUPS) + 1)}"]
    for model in models:
        cells = find_cells(
            r for r in records if r.spec.model.name == model and r.spec.precision.name in ("fp32", "int8")
        )
        told = (_interactions([c for c in cells if _group(c) == group]) for group in GROUPS)
        lines.append(f"| `{model}` | {' | '.join(told)} |")
    return "\n".join(lines)


def _group(cells: Cells) -> str:
    spec = cells.both.spec
    if spec.method != "cp":
        return GROUPS[0]
    return GROUPS[1] if variant_of(spec).epc else GROUPS[2 if spec.treatment.condition else 3]


def _interactions(cells: Sequence[Cells]) -> str:
    if not cells:
        return "-"
    found = [c.interaction() for c in cells]
    largest = max((mean for mean, _, _ in found), key=abs)
    return f"{sum(low <= 0 <= high for _, low, high in found)} of {len(found)}, {100 * largest:+.1f}"
