"""The study's networks as rows of a table: plain values, no streamlit."""

from collections.abc import Mapping, Sequence
from typing import Any

from cached_runs.study import DATA, NETWORKS
from cached_runs.tables import threads_text
from dashboard.words import text
from tdq_core.records.record import Metrics, RunRecord

IMAGES = "CIFAR-10 (JPEG copy)"
"""What the images are called wherever a number on them is shown."""
_TOP1 = "top-1 (%), 95 % interval"
_ON_RUNS = "top-1 (%) on the images of its runs"


def dense_of(by_model: Mapping[str, Sequence[RunRecord]]) -> dict[str, Metrics]:
    """By network what the untouched one got on the images of its runs."""
    return {m: base for m, records in by_model.items() if records and (base := records[0].baseline)}


def network_rows(
    known: dict[str, Any], costs: dict[str, tuple[int, int]], dense: Mapping[str, Metrics] | None = None
) -> list[dict[str, Any]]:
    """The table of networks; `known`: cards by model, `costs`: params and MACs by model, `dense`: as `dense_of`."""
    rows = [_network(model, known.get(model) or {}, costs.get(model)) for model in NETWORKS]
    scores = [_score((dense or {}).get(row["network"])) for row in rows]
    return [row | {_ON_RUNS: score, "training": row.pop("training")} for row, score in zip(rows, scores, strict=True)]


def _score(found: Metrics | None) -> str:
    if found is None:
        return "no runs"
    return f"{100 * found.top1:.2f} [{100 * found.top1_low:.2f}, {100 * found.top1_high:.2f}], n = {found.n:,}"


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
    return f"{threads_text(card)} of {card['cpu']}" if card.get("threads") and card.get("cpu") else "a CPU"


def _smaller(recipe: dict[str, Any]) -> str:
    """Epochs on less than whole images and whole networks, in brackets."""
    sizes = ", ".join(f"{epochs} at {pixels} px" for pixels, epochs in recipe.get("sizes") or ())
    depths = ", ".join(f"{epochs} with {blocks} a stage" for blocks, epochs in recipe.get("depths") or ())
    both = "; ".join(filter(None, (sizes, depths)))
    return f" ({both})" if both else ""
