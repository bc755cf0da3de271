"""Everything that a run stands on: the model, the images, the calibration images, and the name of the run."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.pairing import without_unpaired
from tdq_core.compression.calibrate.spectra import with_output_spectra
from tdq_core.compression.decompose.spectra import with_weight_spectra
from tdq_core.compression.quantize.file_parts import with_files
from tdq_core.compression.quantize.rounding_costs import with_output_rounding, with_weight_rounding
from tdq_core.data.images import Images, batch_size
from tdq_core.data.refs import parse_ref
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import read_layers
from tdq_core.graph.observe import Batches
from tdq_core.layers.table import LayerTable
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.prediction.allocation import plan_table
from tdq_core.prediction.layer_times import LayerTimes, timed
from tdq_core.prediction.sensitivity import Sensitivities
from tdq_core.records.caches import CACHES
from tdq_core.records.record import LayerRecord
from tdq_core.records.store import runs_folder
from tdq_core.specs import ModelSpec, RunSpec
from tdq_core.specs.precision_spec import AUTO
from tdq_core.system.progress import Progress, silent

EXAMPLE_IMAGES = 16
"""Real images on which a model is traced and every export is checked."""


@dataclass(frozen=True)
class RunInputs:
    """Everything that a run stands on, opened and identified, before any work.

    Attributes:
        sensitivities, layer_times: of the network, where ranks follow from them.
        built: layers of a run whose network is built again: its ranks are those, whatever they followed from.
    """

    spec: RunSpec
    model: LoadedModel
    images: Images
    calib: Images | None
    digests: dict[str, str]
    notes: tuple[str, ...]
    sensitivities: Sensitivities | None = None
    layer_times: LayerTimes | None = None
    built: tuple[LayerRecord, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.images) < 2:
            raise InputError(
                f"A run needs at least 2 images to measure and check on. Got {len(self.images)} in '{self.images.ref}'."
            )

    @property
    def run_id(self) -> str:
        return self.spec.run_id(self.digests)

    @property
    def sums_folder(self) -> Path:
        """Where second moments of this model's layers on these calibration images are kept."""
        named = f"{self.digests['model']}\n{self.digests['calib']}"
        return runs_folder() / CACHES["moments"].folder / hashlib.sha256(named.encode()).hexdigest()[:16]

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

    def dense(self) -> "RunInputs":
        """Those of the untouched fp32 model on the same images."""
        digests = {k: v for k, v in self.digests.items() if k in ("model", "data")}
        notes = self.model.notes + self.images.notes
        return RunInputs(self.spec.dense(), self.model, self.images, None, digests, notes)

    def table(self, *, spectra: bool, on_progress: Progress = silent) -> LayerTable:
        """The model's layers; where `spectra` are asked for, those of the weights, or of the outputs on the calibration
        images where factors are fitted to them; where ranks follow from sensitivities, the layers as these know them.
        Where bytes are counted or bits given by hand, with what the files hold beside layers; where time is, with that;
        where bits are chosen, with what rounding does, in the same metric as the spectra."""
        model, calib = self.model, self.calib if self.spec.calibrated else None
        if self.sensitivities:
            table = plan_table(self.sensitivities, self.spec)
        elif calib is None:
            table = self.weights_table(spectra=spectra, on_progress=on_progress)
        else:
            table = table_of(model, self.example()[:2], spectra=False)
            table = fitted_table(table, model.module, self.calibration, len(calib), spectra=spectra,
                                 folder=self.sums_folder, on_progress=on_progress)  # fmt: skip
        table = timed(table, self.layer_times) if self.layer_times else table
        return self._with_what_files_take(table, on_progress)

    def _with_what_files_take(self, table: LayerTable, on_progress: Progress) -> LayerTable:
        rule, precision, module = self.spec.rule, self.spec.precision, self.model.module
        if precision.bits_by_hand is None and (rule is None or rule.budget != "bytes"):
            return table
        table = with_files(table, module, self.example()[:2])
        if precision.bits != AUTO:
            return table
        if not (self.spec.calibrated and self.calib):
            return with_weight_rounding(table, module)
        return with_output_rounding(table, module, self.calibration, len(self.calib), folder=self.sums_folder,
                                    aware=precision.quantization_aware, on_progress=on_progress)  # fmt: skip

    def weights_table(self, *, spectra: bool = True, on_progress: Progress = silent) -> LayerTable:
        """The model's layers, where `spectra` are asked for with those of the weights."""
        return table_of(self.model, self.example()[:2], spectra=spectra, on_progress=on_progress)


def table_of(
    model: LoadedModel,
    example: Tensor,
    *,
    module: nn.Module | None = None,
    spectra: bool,
    on_progress: Progress = silent,
) -> LayerTable:
    """The layers that `model` (or the `module` made of it) runs on `example`, with the spectra of its weights."""
    module = module or model.module
    table = read_layers(module, example, name=model.name, digest=model.digest)
    return with_weight_spectra(table, module, on_progress=on_progress) if spectra else table


def fitted_table(
    table: LayerTable,
    module: nn.Module,
    batches: Batches,
    images: int,
    *,
    spectra: bool,
    folder: Path | None = None,
    on_progress: Progress = silent,
) -> LayerTable:
    """`table` for a fit to outputs on `batches`: layers that cannot be fitted say why; with the outputs' `spectra`."""
    table = without_unpaired(table, module, batches)
    if not spectra:
        return table
    return with_output_spectra(table, module, batches, images, folder=folder, on_progress=on_progress)


def read_table(
    model: ModelSpec, *, seed: int = 0, on_progress: Progress = silent, allowed_models: Collection[str] | None = None
) -> LayerTable:
    """The layer table of a model, with all that a plan by its weights may need; no images are opened."""
    loaded = load_model(model, seed=seed, on_progress=on_progress, allowed=allowed_models)
    example = torch.zeros(2, *loaded.preprocessing.input_shape)
    table = table_of(loaded, example, spectra=True, on_progress=on_progress)
    return with_weight_rounding(with_files(table, loaded.module, example), loaded.module)


def overlap_note(spec: RunSpec, calib: Images) -> list[str]:
    """What a reader must know where calibration looks at the images that are evaluated."""
    images = spec.images
    if images.calib not in (None, images.data) or parse_ref(images.data).has_calibration_split:
        return []
    return [
        f"Calibration used {len(calib)} images of the set that is evaluated (labels unused), "
        "for no other calibration set was given ('calib')."
    ]
