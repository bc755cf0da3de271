"""Params and MACs of the study's networks, trained or not: one small file beside the runs."""

import json
from pathlib import Path

from cached_runs.study import NETWORKS
from tdq_core.system.files import write_atomically

Costs = dict[str, tuple[int, int]]


def costs_path(folder: Path) -> Path:
    return folder / "networks" / "costs.json"


def read_costs(folder: Path) -> Costs:
    """By model (params, MACs of one image); empty where nothing is written down."""
    path = costs_path(folder)
    found = json.loads(path.read_text()) if path.exists() else {}
    return {model: (cost["params"], cost["macs"]) for model, cost in found.items()}


def write_costs(folder: Path) -> None:
    """Count all networks, which does not depend on their weights."""
    found = {model: dict(zip(("params", "macs"), count_costs(model), strict=True)) for model in NETWORKS}
    write_atomically(costs_path(folder), json.dumps(found, indent=1))


def count_costs(model: str) -> tuple[int, int]:
    """(params, MACs) counted on a network with random weights."""
    import torch

    from tdq_core.graph.layer_table import count_macs, count_params
    from tdq_core.models.loading import load_model
    from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec

    loaded = load_model(ModelSpec(model, RANDOM_WEIGHTS))
    example = torch.zeros(1, *loaded.preprocessing.input_shape)
    return count_params(loaded.module), count_macs(loaded.module, example)
