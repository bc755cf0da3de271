"""Params and MACs of the study's networks, trained or not: one small file beside the runs."""

from pathlib import Path

import msgspec

from tdq_core.records.bounds import Positive
from tdq_core.system.reading import read_json

Costs = dict[str, tuple[int, int]]


class _Cost(msgspec.Struct, frozen=True):
    params: Positive
    macs: Positive


def costs_path(folder: Path) -> Path:
    return folder / "networks" / "costs.json"


def read_costs(folder: Path) -> Costs:
    """By model (params, MACs of one image); empty where nothing is written down."""
    try:
        found = msgspec.convert(read_json(costs_path(folder)), dict[str, _Cost])
    except (FileNotFoundError, ValueError):  # damaged: the table does without, `python -m cached_runs` writes it anew
        return {}
    return {model: (cost.params, cost.macs) for model, cost in found.items()}
