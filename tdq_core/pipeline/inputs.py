"""Everything that a run stands on: the model, the images, the calibration images, and the name of the run."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tdq_core.data.images import ImageSet
from tdq_core.data.refs import parse_ref
from tdq_core.data.sources import open_images
from tdq_core.measure.evaluate import batch_size
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.records.store import runs_folder
from tdq_core.specs import RunSpec
from tdq_core.system.progress import Progress, silent

EXAMPLE_IMAGES = 16
"""Real images on which a model is traced and every export is checked."""


@dataclass(frozen=True)
class Opened:
    """Everything that a run stands on, opened and identified, before any work."""

    spec: RunSpec
    model: LoadedModel
    images: ImageSet
    calib: ImageSet | None
    digests: dict[str, str]
    notes: tuple[str, ...]

    @property
    def run_id(self) -> str:
        return self.spec.run_id(self.digests)

    @property
    def sums_folder(self) -> Path:
        """Where second moments of this model's layers on these calibration images are kept."""
        named = f"{self.digests['model']}\n{self.digests['calib']}"
        return runs_folder() / "moments" / hashlib.sha256(named.encode()).hexdigest()[:16]

    def example(self) -> Tensor:
        """Images spread evenly over the set, (N, C, H, W)."""
        count = min(EXAMPLE_IMAGES, len(self.images))
        spread = np.linspace(0, len(self.images) - 1, count).round().astype(int)
        return next(iter(self.images.subset(spread).batches(self.model.preprocessing, batch_size=count)))[0]

    def calibration(self) -> Iterator[Tensor]:
        """A fresh pass over the calibration images, without labels."""
        assert self.calib is not None, "opened with the run"
        for batch, _ in self.calib.batches(self.model.preprocessing, batch_size=batch_size(self.model.preprocessing)):
            yield batch


def open_run(spec: RunSpec, *, on_progress: Progress = silent, allowed_models: Collection[str] | None = None) -> Opened:
    """Load the model, open the images, and name the run by their contents."""
    model = load_model(spec, on_progress=on_progress, allowed=allowed_models)
    size: dict[str, Any] = {"seed": spec.seed, "num_classes": model.num_classes, "on_progress": on_progress}
    images = open_images(spec.data, role="eval", samples=spec.samples, **size)
    digests = {"model": model.digest, "data": images.digest}
    notes = [*model.notes, *images.notes]
    calib = None
    if spec.needs_calibration:
        calib = open_images(spec.calib or spec.data, role="calib", samples=spec.calib_samples, **size)
        digests["calib"] = calib.digest
        notes += [n for n in calib.notes if n not in notes]
        notes += _overlap_note(spec, calib)
    return Opened(spec, model, images, calib, digests, tuple(notes))


def _overlap_note(spec: RunSpec, calib: ImageSet) -> list[str]:
    same = spec.calib in (None, spec.data) and not parse_ref(spec.data).has_calibration_split
    if not same:
        return []
    return [
        f"Calibration used {len(calib)} images of the set that is evaluated (labels unused), "
        "for no other calibration set was given (--calib)."
    ]
