"""Params and MACs of the study's networks, trained or not: one small file beside the runs."""

import json
from pathlib import Path

Costs = dict[str, tuple[int, int]]


def costs_path(folder: Path) -> Path:
    return folder / "networks" / "costs.json"


def read_costs(folder: Path) -> Costs:
    """By model (params, MACs of one image); empty where nothing is written down."""
    path = costs_path(folder)
    found = json.loads(path.read_text()) if path.exists() else {}
    return {model: (cost["params"], cost["macs"]) for model, cost in found.items()}
