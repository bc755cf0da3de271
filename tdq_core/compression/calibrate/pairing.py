"""Which layers a calibrated fit must leave alone: those whose rows cannot be told apart by image."""

import dataclasses

from torch import nn

from tdq_core.graph.calls import why_unpaired
from tdq_core.graph.observe import Batches
from tdq_core.layers.table import LayerTable

IMAGES = 3
"""Calibration images on which the calls of layers are compared."""


def without_unpaired(table: LayerTable, model: nn.Module, batches: Batches) -> LayerTable:
    """`table` with a refusal, and its reason, for every layer whose calls on `batches` cannot be paired."""
    names = [layer.name for layer in table.layers if not layer.refusal]
    reasons = why_unpaired(model, names, next(iter(batches()))[:IMAGES])
    refused = (dataclasses.replace(layer, refusal=layer.refusal or reasons.get(layer.name)) for layer in table.layers)
    return dataclasses.replace(table, layers=tuple(refused))
