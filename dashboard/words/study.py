"""What the study's figures show, in words counted from their runs: plain values, no streamlit."""

from collections.abc import Sequence
from typing import Any

from cached_runs.study import DATA, NETWORKS
from cached_runs.tables import threads_text
from dashboard.figures.study import Curve, rounded
from dashboard.words import text
from tdq_core.records.record import RunRecord

IMAGES = "CIFAR-10 (JPEG copy)"
"""What the images are called wherever a number on them is shown."""
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


def lost_to_rounding(curves: Sequence[Curve]) -> str:
    """What fewer bits cost beside FP32 at the same ratios, the least and the most of each line."""
    told = []
    for curve in curves:
        losses = [r.loss[0] for r in rounded(curve, curves) if r.record.spec.method != "none"]
        if losses:
            least, most = text.points(min(losses)), text.points(max(losses))
            told.append(f"{curve.line.label} {least}" + (f" to {most}" if most != least else ""))
    return f"Lost on top of FP32 at the same ratio, in points: {'; '.join(told)}." if told else ""


def instead_of(curves: Sequence[Curve], others: Sequence[Curve], what: str) -> str:
    """What the first of `curves` loses at each of its ratios beside the first of `others`; `what` says what differs."""
    if not curves or not others:
        return ""
    told = []
    for ratio in ratios_of(curves):
        old, new = at_ratio(others[0], ratio), at_ratio(curves[0], ratio)
        if old and new:
            told.append(f"{ratio:g}x: {text.points(new.drop()[0])} instead of {text.points(old.drop()[0])}")
    return f"{what}: {'; '.join(told)}." if told else ""


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
