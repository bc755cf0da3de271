"""The study's pipeline against TDQ's own, both in INT8: the smallest file within a bound on the drop. Plain values."""

from collections.abc import Mapping, Sequence
from typing import Any

from cached_runs.pipelines import BOUNDS, PIPELINES, POINT, smallest
from cached_runs.study import NETWORKS
from dashboard.words import text
from tdq_core.recipes.choices import Pick
from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs import BACKENDS
from tdq_core.stats.verdict import verdict


def recipe_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """For each bound on the drop the smallest file of either pipeline; chosen on every other image."""
    by_id = {r.run_id: r for r in records}
    rows = []
    for limit in BOUNDS:
        for pipeline in PIPELINES:
            picks, best = smallest(records, pipeline, limit)
            told = _recipe(best, by_id[best.run_id], limit) if best else _missed(picks)
            rows.append({"drop at most": _bound(limit), "pipeline": pipeline.name} | told)
    return rows


def network_recipes(by_model: Mapping[str, Sequence[RunRecord]]) -> list[dict[str, str]]:
    """By network that has runs the smallest file of either pipeline that loses at most a point."""
    rows = []
    for model in (m for m in NETWORKS if by_model[m]):
        row = {"network": model}
        for pipeline in PIPELINES:
            picks, best = smallest(by_model[model], pipeline, POINT)
            row |= {f"{pipeline.name}: file": text.both_ways(best.bytes_ratio) if best else _why(picks)}
            row |= {f"{pipeline.name}: drop on the others": _on_others(best) if best else ""}
        rows.append(row)
    return rows


def _recipe(best: Pick, record: RunRecord, limit: float) -> dict[str, Any]:
    spec, numbers = record.spec, record.spec.precision
    return {
        "what it is": f"{text.method_label(spec)}, {ranks_text(spec)}, {numbers.numbers.label}, "
        f"{BACKENDS[numbers.backend].label}",
        "params": text.both_ways(best.params_ratio),
        "file": text.both_ways(best.bytes_ratio),
        "drop": f"{text.points(best.chosen_drop[0])}",
        "drop on the others": _on_others(best),
        "on the others": str(verdict(best.verified_drop, limit)),
        "run": best.run_id,
    }


def _on_others(best: Pick) -> str:
    return f"{text.points(best.verified_drop[0])} {text.interval(*best.verified_drop[1:])}"


def _bound(limit: float) -> str:
    return f"{100 * limit:g} point{'s' * (limit != POINT)}"


def _missed(picks: Sequence[Pick]) -> dict[str, Any]:
    return {"what it is": _why(picks)} | dict.fromkeys(
        ("params", "file", "drop", "drop on the others", "on the others", "run"), ""
    )


def _why(picks: Sequence[Pick]) -> str:
    least = min((p.chosen_drop[0] for p in picks), default=None)
    return "not measured" if least is None else f"none: the least drop is {text.points(least)}"
