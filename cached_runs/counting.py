"""Counts params and MACs of the study's networks, trained or not."""

import json
from pathlib import Path

import torch

from cached_runs.costs import costs_path
from cached_runs.study import NETWORKS
from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.models.loading import load_model
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.system.files import write_atomically


def write_costs(folder: Path) -> None:
    """Count all networks, which does not depend on their weights."""
    found = {model: dict(zip(("params", "macs"), count_costs(model), strict=True)) for model in NETWORKS}
    write_atomically(costs_path(folder), json.dumps(found, indent=1))


def count_costs(model: str) -> tuple[int, int]:
    """(params, MACs) counted on a network with random weights."""
    loaded = load_model(ModelSpec(model, RANDOM_WEIGHTS))
    example = torch.zeros(1, *loaded.preprocessing.input_shape)
    return count_params(loaded.module), count_macs(loaded.module, example)
