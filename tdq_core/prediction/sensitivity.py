"""How much the answers of a network move when one layer alone is changed: the numbers, and where they are kept.

Measured by `tdq_core.analysis.layer_changes`; own ones lie in `runs/sensitivities/`, shipped ones in
`cached_runs/sensitivities/`. No torch here.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from tdq_core.errors import InputError
from tdq_core.layers.table import LayerTable, require_sound_table
from tdq_core.records.bounds import Amount, Id, Named, Positive, Share
from tdq_core.records.record import Kept, read_kept, require_schema
from tdq_core.records.sound import require
from tdq_core.records.store import Kind
from tdq_core.specs import ImageSpec, ModelSpec, RunSpec
from tdq_core.system.reading import Damaged

SCHEMA = 1
FITS = ("outputs", "weights")
"""What factors are fitted to."""
CP_EFFORT = "usual"
"""By which CP is looked for: that of runs."""
DENSE = "dense"
PARTS = {"w8": (8, None), "w6": (6, None), "w4": (4, None), "w3": (3, None), "w2": (2, None),
         "a8": (None, 8), "a6": (None, 6), "a4": (None, 4)}  # fmt: skip
"""What is rounded alone: weights, or the inputs of layers, to so many bits."""
MEASURED = ("w4", "w3", "w2", "a6", "a4")
"""Of these; a change by more bits follows from it, for it falls with the square of the step."""
FINER = {f"w{bits}": ("w4", (7 / (2 ** (bits - 1) - 1)) ** 2) for bits in (8, 7, 6, 5)}
FINER["a8"] = ("a6", (63 / 255) ** 2)


class Point(Kept, frozen=True):
    """A layer at `ranks`.

    Attributes:
        error: what its spectra predict of its relative squared error; where they say nothing, the share of its params
            that is not kept. Points are joined along it.
        change: of the logits: mean squared distance over mean squared size, the mean over the classes taken off.
    """

    ranks: tuple[Positive, ...]
    error: Amount
    change: Amount


class LayerChanges(Kept, frozen=True):
    """What one layer does to the answers.

    Attributes:
        fits: by form ('tucker2', 'svd', 'cp+epc') and by what factors are fitted to: points of falling error, the layer
            alone decomposed in floats. Those of 'cp' are those of 'cp+epc': the correction keeps the error.
        rounding: by form ('dense', 'cp', or as above) and part ('w4', 'a6', ...): the change by rounding it, in that
            form.
    """

    fits: Mapping[str, Mapping[str, tuple[Point, ...]]]
    rounding: Mapping[str, Mapping[str, Amount]]

    def rounded(self, form: str, part: str) -> float | None:
        """The change by rounding, measured or by the law of `FINER`; None where it is not known."""
        known = self.rounding.get(form, {})
        coarser, factor = FINER.get(part, (part, 1.0))
        return known[coarser] * factor if coarser in known else None


class Flip(Kept, frozen=True):
    """What noise of one size in the logits does to the answers of the calibration images.

    Attributes:
        change: its size, as `Point.change`.
        changed: share of the images whose answer moves.
        lost: top-1 lost if the network is right as often as its own probabilities say.
    """

    change: Amount
    changed: Share
    lost: float


class Sensitivities(Kept, frozen=True):
    """One network on its calibration images.

    Attributes:
        spec: model and images, as a run of the dense model; digests: of the model and of the calibration images.
        tables: by fit, the layers with the spectra that plans and `Point.error` are made from.
        images: so many of the calibration images were passed for every change; from TDQ 0.17 on those that no fit has
            seen.
        flips: of rising change.
    """

    sensitivity_id: Id
    spec: RunSpec
    digests: Mapping[str, str]
    tables: Mapping[str, LayerTable]
    images: Positive
    layers: Mapping[Named, LayerChanges]
    flips: tuple[Flip, ...]
    provenance: Mapping[str, Any]

    @property
    def content(self) -> str:
        """SHA-256 of what was measured, wherever and whenever: what plans by it follow from."""
        measured = (self.digests, self.tables, self.images, self.layers, self.flips)
        return hashlib.sha256(msgspec.json.encode(measured, order="deterministic")).hexdigest()

    def to_json(self) -> str:
        plain = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        return json.dumps({"schema": SCHEMA} | plain | {"spec": self.spec.to_dict()}, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Sensitivities":
        """The inverse of `to_json`; InputError where it is another or a damaged one."""
        require_schema(plain, SCHEMA, "sensitivities")
        values = {name: value for name, value in plain.items() if name != "schema"}
        found = read_kept(values, cls, f"a file of sensitivities of schema {SCHEMA}")
        _require_sound(found)
        return found


def subject_of(spec: RunSpec) -> tuple[ModelSpec, str, int]:
    """Whose sensitivities answer for runs of `spec`: the network, where its calibration images are, how many."""
    images: ImageSpec = spec.images
    return spec.model, images.calib or images.data, images.calib_samples


def sensitivity_id(spec: RunSpec, digests: Mapping[str, str], images: int) -> str:
    """The name of the sensitivities of this network on these calibration images."""
    asked = {
        "schema": SCHEMA,
        "model": digests["model"],
        "calib": digests["calib"],
        "seed": spec.seed,
        "images": images,
        "unseen": True,
        "cp_effort": CP_EFFORT,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _require_sound(found: Sensitivities) -> None:
    require(set(found.tables) <= set(FITS) and "outputs" in found.tables, "Its layer tables are not those of its fits")
    for table in found.tables.values():
        try:
            require_sound_table(table)
        except Damaged as error:
            raise InputError(f"A layer table in it is damaged: {error}.") from error
        known = {layer.name for layer in table.layers}
        require(set(found.layers) <= known, "It names a layer that its layer table does not have")
    require(len(found.flips) >= 2, "It has no flips")
    changes = [flip.change for flip in found.flips]
    require(changes == sorted(set(changes)) and changes[0] > 0, "Its flips are not of rising change")
    for layer in found.layers.values():
        require(DENSE in layer.rounding, "A layer is not rounded by itself")
        require(
            all(set(parts) <= set(PARTS) for parts in layer.rounding.values()), "A layer is rounded to unknown bits"
        )
        for fits in layer.fits.values():
            for points in fits.values():
                errors = [point.error for point in points]
                require(bool(points) and errors == sorted(errors, reverse=True), "Points are not of falling error")


SENSITIVITIES = Kind(
    "sensitivity", "measure it again", "sensitivities", lambda found: found.sensitivity_id, Sensitivities.from_dict
)
"""One JSON file a network on its calibration images."""
