"""What the study's figures show, in words counted from their runs: plain values, no streamlit."""

from collections.abc import Sequence
from typing import Any

from dashboard import text
from dashboard.figures.study import Curve
from dashboard.palette import BACKEND_LABELS, method_label
from tdq_core.recipe.picks import Pick, best_first, pick
from tdq_core.recipe.target import Target
from tdq_core.records import RunRecord
from tdq_core.shipped.study import DATA, NETWORKS, tucker2_of
from tdq_core.shipped.tables import threads_text
from tdq_core.table import ranks_text

IMAGES = "CIFAR-10 (JPEG copy)"
"""What the images are called wherever a number on them is shown."""
TARGETS = (0.005, 0.01, 0.02, 0.03)
_TOP1 = "top-1 (%), 95 % interval"
_NEAR = 0.02
"""Ratios that differ by less than this share count as the same one."""


def at_ratio(curve: Curve, ratio: float) -> RunRecord | None:
    """The run of the curve at this ratio, or None."""
    found = [p for p in curve.points if abs(p.ratio / ratio - 1) < _NEAR and p.record.spec.method != "none"]
    return found[0].record if found else None


def ratios_of(curves: Sequence[Curve]) -> list[float]:
    """The ratios that the first curve was asked for."""
    rules = [p.record.spec.rule for p in curves[0].points] if curves else []
    return [r.value for r in rules if r and r.value]


def curves_in_words(curves: Sequence[Curve]) -> str:
    """For each line what it loses at the middle ratio, and how far it goes within one point."""
    ratios = ratios_of(curves)
    if not ratios:
        return ""
    middle = min(ratios, key=lambda r: abs(r - 2.0))
    lost = [f"{c.line.label} {_drop(r)}" for c in curves if (r := at_ratio(c, middle))]
    kept = text.percent(1 / middle, 0)
    return f"Drops in points at {middle:g}x smaller ({kept} of the params kept): {'; '.join(lost)}. {_reach(curves)}"


def _drop(record: RunRecord) -> str:
    drop, low, high = record.drop()
    return f"{text.points(drop)} {text.interval(low, high)}"


def _reach(curves: Sequence[Curve]) -> str:
    """Up to which ratio each line loses at most a point."""
    reach = {
        c.line.label: [p.ratio for p in c.points if p.record.spec.method != "none" and p.record.drop()[0] <= 0.01]
        for c in curves
    }
    within = [f"{label} up to {max(ratios):.2f}x" for label, ratios in reach.items() if ratios]
    beyond = [label for label, ratios in reach.items() if not ratios]
    if not within:
        return "None of them stays within one point of the dense model at any ratio that was measured."
    rest = f" Not at any measured ratio: {'; '.join(beyond)}." if beyond else ""
    return f"Within one point of the dense model stay {'; '.join(within)}.{rest}"


def quantized_after(curves: Sequence[Curve]) -> str:
    """What INT8 costs beside FP32 at the same ratios, by backend."""
    plain = next((c for c in curves if c.line.precision == "fp32"), None)
    told = []
    for curve in curves:
        if not plain or curve.line.precision != "int8":
            continue
        pairs = [(at_ratio(plain, r), at_ratio(curve, r)) for r in ratios_of(curves)]
        costs = [b.drop()[0] - a.drop()[0] for a, b in pairs if a and b]
        if costs:
            told.append(f"{BACKEND_LABELS[curve.line.backend]} {text.points(min(costs))} to {text.points(max(costs))}")
    return f"On top of FP32 at the same ratio INT8 loses, in points, {' and '.join(told)}." if told else ""


def later_against_all(later: Sequence[Curve], everywhere: Sequence[Curve]) -> str:
    """The FP32 lines of both ways of sharing out a ratio."""
    if not later or not everywhere:
        return ""
    told = []
    for ratio in ratios_of(later):
        a, b = at_ratio(everywhere[0], ratio), at_ratio(later[0], ratio)
        if a and b:
            told.append(f"{ratio:g}x: {text.points(b.drop()[0])} instead of {text.points(a.drop()[0])}")
    return f"FP32 drops in points, later layers first instead of all alike: {'; '.join(told)}." if told else ""


def network_rows(known: dict[str, Any], costs: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """The table of networks; `known`: cards by model, `costs`: params and MACs by model."""
    return [_network(model, known.get(model) or {}, costs.get(model)) for model in NETWORKS]


def _network(model: str, card: dict[str, Any], cost: tuple[int, int] | None) -> dict[str, Any]:
    score = card.get("scores", {}).get("eval")
    row: dict[str, Any] = {"network": model, "params": cost[0] if cost else None, "MACs": cost[1] if cost else None}
    if not score:
        return row | {_TOP1: "", "training": f"not trained yet: tdq train {model} --data {DATA}"}
    recipe = card["recipe"]
    cost_text = f"{text.seconds(card['seconds'])}, {recipe['epochs']} epochs{_smaller(recipe)}, {_machine(card)}"
    spread = f"[{100 * score['top1_low']:.2f}, {100 * score['top1_high']:.2f}]"
    top1 = f"{100 * score['top1']:.2f} {spread}, n = {score['n']:,}"
    return row | {_TOP1: top1, "training": cost_text}


def _machine(card: dict[str, Any]) -> str:
    if card.get("device", "cpu") != "cpu":
        return str(card["device"])
    return f"{threads_text(card)} of {card['cpu']}"


def _smaller(recipe: dict[str, Any]) -> str:
    """Epochs on less than whole images and whole networks, in brackets."""
    sizes = ", ".join(f"{epochs} at {pixels} px" for pixels, epochs in recipe.get("sizes") or ())
    depths = ", ".join(f"{epochs} with {blocks} a stage" for blocks, epochs in recipe.get("depths") or ())
    both = "; ".join(filter(None, (sizes, depths)))
    return f" ({both})" if both else ""


def is_study_pipeline(record: RunRecord) -> bool:
    """Tucker-2 of the weights, then INT8, as the study did it."""
    spec = record.spec
    return (
        spec.method == tucker2_of(spec.model) and not spec.calibrated and not spec.finetune and spec.precision == "int8"
    )


def is_own_pipeline(record: RunRecord) -> bool:
    """What TDQ would do: factors fitted to outputs, conditioned, INT8."""
    spec = record.spec
    return spec.calibrated and spec.precision == "int8" and spec.condition and not spec.symmetric


def recipe_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """For each bound on the drop the smallest file of either pipeline; chosen on every other image."""
    pipelines = (("the study's", is_study_pipeline), ("TDQ's own", is_own_pipeline))
    rows = []
    for limit in TARGETS:
        target = Target("drop", limit)
        for name, belongs in pipelines:
            picks = [pick(r, name, None, target) for r in records if r.state == "complete" and belongs(r)]
            met = [p for p in best_first(picks, target) if p.met]
            by_id = {r.run_id: r for r in records}
            rows.append(_recipe(limit, name, met[0], by_id) if met else _missed(limit, name, picks))
    return rows


def _recipe(limit: float, name: str, best: Pick, by_id: dict[str, RunRecord]) -> dict[str, Any]:
    spec = by_id[best.run_id].spec
    return {
        "drop at most": _bound(limit),
        "pipeline": name,
        "what it is": f"{method_label(spec)}, {ranks_text(spec)}, INT8, {BACKEND_LABELS[spec.backend]}",
        "params": text.both_ways(best.params_ratio),
        "file": text.both_ways(best.bytes_ratio),
        "drop": f"{text.points(best.chosen_drop[0])}",
        "drop on the others": f"{text.points(best.verified_drop[0])} {text.interval(*best.verified_drop[1:])}",
        "verified": "yes" if best.verified else "no",
        "run": best.run_id,
    }


def _bound(limit: float) -> str:
    return f"{100 * limit:g} point{'s' * (limit != 0.01)}"


def _missed(limit: float, name: str, picks: Sequence[Pick]) -> dict[str, Any]:
    least = min((p.chosen_drop[0] for p in picks), default=None)
    why = "not measured" if least is None else f"none: the least drop is {text.points(least)}"
    nothing = dict.fromkeys(("params", "file", "drop", "drop on the others", "verified", "run"), "")
    return {"drop at most": _bound(limit), "pipeline": name, "what it is": why} | nothing
