"""Where layer tables are kept, so that the screen can plan without loading the model. No torch here.

A table belongs to a model with its weights: `layer_file_name` names both, by content where that is known without
opening the model. Shipped tables lie in `cached_runs/layers/`, computed ones in `runs/layers/`.
"""

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

from tdq_core.errors import InputError
from tdq_core.layers.table import LayerTable
from tdq_core.models.registry import MODELS
from tdq_core.models.sources import named_sources
from tdq_core.models.weights_ref import stamp
from tdq_core.records.caches import CACHES
from tdq_core.records.store import runs_folder, shipped_folder
from tdq_core.specs import RANDOM_WEIGHTS, RunSpec
from tdq_core.system.files import write_atomically


def layer_file_name(spec: RunSpec) -> str:
    """`<model>-<8 hexadecimal digits>.json`; the digits stand for the weights and whatever else decides the layers.

    Registered weights count by their SHA-256; files and folders by their paths, sizes and times; random weights by the
    seed; code of your own by its sources. The table of a calibrated spec also belongs to its calibration images.
    """
    model = spec.model
    known = MODELS.get(model.name)
    weights = known.weights if known and model.weights is None else None
    parts: list[object] = [
        model.name,
        weights.sha256 if weights else stamp(model.weights),
        spec.seed if model.weights == RANDOM_WEIGHTS or known is None else None,
        None if known else named_sources(model.name).digest(),
        [model.mean, model.std, model.input_size],
        dataclasses.asdict(known.preprocessing) if known else None,
    ]
    if spec.calibrated:
        parts.append([spec.images.data, spec.images.calib, spec.images.calib_samples, spec.seed])
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(model.name).name).strip("-.")
    return f"{slug or 'model'}-{digest}.json"


def table_path(spec: RunSpec) -> Path:
    """Where the table of the spec's model and weights lies, inside a folder of runs."""
    return CACHES["layers"].folder / layer_file_name(spec)


def find_layer_file(spec: RunSpec) -> Path | None:
    """The table of the spec's model and weights, or None where it has not been read yet."""
    for folder in (runs_folder(), shipped_folder()):
        if os.path.lexists(path := folder / table_path(spec)):
            return path
    return None


def read_layer_file(path: Path, model: str) -> LayerTable:
    """The table in a file that `find_layer_file` gave; InputError names the file where it is damaged, or holds the
    layers of another model."""
    table = LayerTable.read(path)
    if table.model != model:
        raise InputError(
            f"The layer table '{path}' cannot be read (it is of '{table.model}'): read the layers anew, or move it "
            "away."
        )
    return table


def write_layer_file(table: LayerTable, spec: RunSpec) -> Path:
    """Keep `table` as the one of the spec's model and weights."""
    return write_atomically(runs_folder() / table_path(spec), table.to_json())
