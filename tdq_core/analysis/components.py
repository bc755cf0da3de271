"""What the components of a CP look like before INT8: the numbers of the page Components, and where they are kept.

A study holds every CP-decomposed layer of one model three times: as alternating least squares leaves it ('als'), after
the error-preserving correction ('epc'), and with the ranges inside it brought into balance as well ('equalised').
Shipped studies lie in `cached_runs/components/`, computed ones in `runs/components/`. No torch here.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tdq_core.analysis.sound_study import STAGES as STAGES
from tdq_core.analysis.sound_study import VARIANTS as VARIANTS
from tdq_core.analysis.sound_study import require_sound_study
from tdq_core.errors import InputError
from tdq_core.records.bounds import Amount, Id, Named, Natural, Number, Positive, Share
from tdq_core.records.record import Kept, read_kept, require_schema
from tdq_core.records.store import Kind
from tdq_core.specs import Decomposition, ImageSpec, PrecisionSpec, RankRule, RunSpec

SCHEMA = 1
DIGITS = 4
"""Significant digits of every number that is kept."""
FEW_LEVELS = 8
"""A component with fewer integers than this has less than three bits left."""


class Stage(Kept, frozen=True):
    """The weights of one sub-layer.

    Attributes:
        largest: max |w| of each component, (R,).
        counts: entries by bin of log10 |w|; the bins are those of the layer.
        below: entries below the first bin, zeros included.
        step: INT8 step with one scale for the whole weight.
        channel_step: median INT8 step with one scale per output channel.
        zeros, channel_zeros: share of the entries that round to zero, with one scale and with one per output channel.
    """

    largest: tuple[Amount, ...]
    counts: tuple[Natural, ...]
    below: Natural
    step: Amount
    channel_step: Amount
    zeros: Share
    channel_zeros: Share


class Inner(Kept, frozen=True):
    """One activation between two sub-layers, over the calibration images.

    Attributes:
        low, high: smallest and largest value of each component, (R,); zero always lies between.
        step: INT8 step, one scale for all components.
    """

    low: tuple[Number, ...]
    high: tuple[Number, ...]
    step: Amount

    @property
    def ranges(self) -> tuple[float, ...]:
        """(R,): high - low."""
        return tuple(high - low for low, high in zip(self.low, self.high, strict=True))

    @property
    def levels(self) -> tuple[float, ...]:
        """(R,): INT8 steps within the range of each component."""
        return tuple(width / self.step if self.step else 0.0 for width in self.ranges)

    @property
    def ratio(self) -> float:
        """The largest range over the median range."""
        return max_over_median(self.ranges)

    @property
    def median_levels(self) -> float:
        return statistics.median(self.levels)

    def starved(self, levels: float = FEW_LEVELS) -> int:
        """How many components get fewer than `levels` steps."""
        return sum(found < levels for found in self.levels)


class Variant(Kept, frozen=True):
    """One layer, decomposed in one way.

    Attributes:
        norms: norm of each component over |W|, (R,).
        rel_error: |W - W~| / |W| (Frobenius).
        stages: by name, see `STAGES`.
        inner: after `input` and after `depthwise`.
    """

    norms: tuple[Amount, ...]
    rel_error: Amount
    stages: Mapping[str, Stage]
    inner: Mapping[str, Inner]

    @property
    def degeneracy(self) -> float:
        """log10 of the sum of squared component norms over |W|^2: 0 where nothing cancels."""
        total = sum(norm**2 for norm in self.norms)
        return math.log10(total) if total else 0.0

    @property
    def ratio(self) -> float:
        """The larger max/median range of the two inner activations."""
        return max(inner.ratio for inner in self.inner.values())


class LayerComponents(Kept, frozen=True):
    """One layer in all variants.

    Attributes:
        bins: edges of the bins of log10 |w|, shared by variants and sub-layers.
        params, macs: decomposed; dense_params, dense_macs: of the original layer, for one image.
    """

    name: Named
    c_out: Positive
    c_in: Positive
    kernel: tuple[Positive, Positive]
    rank: Positive
    params: Positive
    macs: Positive
    dense_params: Positive
    dense_macs: Positive
    bins: tuple[Number, ...]
    variants: Mapping[str, Variant]


class Components(Kept, frozen=True):
    """One study.

    Attributes:
        study_id: digest of the spec and of the contents of model and calibration images.
        spec: the run whose decomposition is shown, see `study_spec`.
        params, macs, dense_params, dense_macs: of the whole model.
        provenance: versions, machine, time, calibration split and its size.
    """

    study_id: Id
    spec: RunSpec
    digests: Mapping[str, str]
    params: Positive
    macs: Positive
    dense_params: Positive
    dense_macs: Positive
    layers: tuple[LayerComponents, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]

    def layer(self, name: str) -> LayerComponents:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InputError(f"The study {self.study_id} has no layer '{name}'; it has {[la.name for la in self.layers]}.")

    def to_json(self) -> str:
        plain = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        plain |= {"spec": self.spec.to_dict(), "layers": _rounded(plain["layers"])}
        return json.dumps({"schema": SCHEMA, **plain}, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Components":
        """The inverse of `to_json`; a missing, unknown or newer field is an error."""
        require_schema(plain, SCHEMA, "studies of components")
        values = {name: value for name, value in plain.items() if name != "schema"}
        study = read_kept(values, cls, f"a study of components of schema {SCHEMA}")
        require_sound_study(study)
        return study


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


def max_over_median(values: Sequence[float]) -> float:
    """How far the largest of `values` (not negative) stands out; infinite where most are zero and one is not."""
    largest, middle = max(values), statistics.median(values)
    if middle == 0:
        return math.inf if largest else 1.0
    return largest / middle


def study_spec(spec: RunSpec, *, rule: RankRule, eta: float) -> RunSpec:
    """The run that a study is about: CP with EPC at `rule`, conditioned for INT8, on the model and images of `spec`."""
    images = ImageSpec(spec.images.data, calib=spec.images.calib, calib_samples=spec.images.calib_samples)
    return RunSpec(
        spec.model,
        images,
        Decomposition("cp", rule, epc=True, eta=eta),
        precision=PrecisionSpec("int8"),
        seed=spec.seed,
    )


def study_id(spec: RunSpec, digests: Mapping[str, str]) -> str:
    """16 hexadecimal digits that name the study of `spec` with these contents of model and calibration images."""
    seen = {role: digests[role] for role in ("model", "calib")}
    return spec.run_id({**seen, "study": f"components {SCHEMA}"})


STUDIES = Kind(
    "study of components", "compute it again", "components", lambda study: study.study_id, Components.from_dict
)  # fmt: skip
"""One JSON file a study."""
