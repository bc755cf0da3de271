"""What the components of a CP look like before INT8: the numbers of the page Components, and where they are kept.

A study holds every CP-decomposed layer of one model three times: as alternating least squares leaves it ('als'), after
the error-preserving correction ('epc'), and with the ranges inside it brought into balance as well ('equalised').
Shipped studies lie in `cached_runs/components/`, computed ones in `runs/components/`. No torch here.
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdq_core.errors import InputError
from tdq_core.records.store import runs_folder, shipped_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.files import write_atomically

SCHEMA = 1
VARIANTS = ("als", "epc", "equalised")
STAGES = ("input", "depthwise", "output")
DIGITS = 4
"""Significant digits of every number that is kept."""
FEW_LEVELS = 8
"""A component with fewer integers than this has less than three bits left."""


@dataclass(frozen=True)
class Stage:
    """The weights of one sub-layer.

    Attributes:
        largest: max |w| of each component, (R,).
        counts: entries by bin of log10 |w|; the bins are those of the layer.
        below: entries below the first bin, zeros included.
        step: INT8 step with one scale for the whole weight.
        channel_step: median INT8 step with one scale per output channel.
        zeros, channel_zeros: share of the entries that round to zero, with one scale and with one per output channel.
    """

    largest: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    step: float
    channel_step: float
    zeros: float
    channel_zeros: float


@dataclass(frozen=True)
class Inner:
    """One activation between two sub-layers, over the calibration images.

    Attributes:
        low, high: smallest and largest value of each component, (R,); zero always lies between.
        step: INT8 step, one scale for all components.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    step: float

    @property
    def ranges(self) -> tuple[float, ...]:
        """(R,): high - low."""
        return tuple(high - low for low, high in zip(self.low, self.high))

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


@dataclass(frozen=True)
class Variant:
    """One layer, decomposed in one way.

    Attributes:
        norms: norm of each component over |W|, (R,).
        rel_error: |W - W~| / |W| (Frobenius).
        stages: by name, see `STAGES`.
        inner: after `input` and after `depthwise`.
    """

    norms: tuple[float, ...]
    rel_error: float
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


@dataclass(frozen=True)
class LayerComponents:
    """One layer in all variants.

    Attributes:
        bins: edges of the bins of log10 |w|, shared by variants and sub-layers.
        params, macs: decomposed; dense_params, dense_macs: of the original layer, for one image.
    """

    name: str
    c_out: int
    c_in: int
    kernel: tuple[int, int]
    rank: int
    params: int
    macs: int
    dense_params: int
    dense_macs: int
    bins: tuple[float, ...]
    variants: Mapping[str, Variant]


@dataclass(frozen=True)
class Components:
    """One study.

    Attributes:
        study_id: digest of the spec and of the contents of model and calibration images.
        spec: the run whose decomposition is shown, see `study_spec`.
        params, macs, dense_params, dense_macs: of the whole model.
        provenance: versions, machine, time, calibration split and its size.
    """

    study_id: str
    spec: RunSpec
    digests: Mapping[str, str]
    params: int
    macs: int
    dense_params: int
    dense_macs: int
    layers: tuple[LayerComponents, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]

    def layer(self, name: str) -> LayerComponents:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InputError(f"The study {self.study_id} has no layer '{name}'; it has {[la.name for la in self.layers]}.")

    def to_json(self) -> str:
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain |= {"spec": self.spec.to_dict(), "layers": [dataclasses.asdict(la) for la in self.layers]}
        numbers = {"layers": _rounded(plain.pop("layers"))}
        return json.dumps({"schema": SCHEMA, **plain, **numbers}, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Components":
        """The inverse of `to_json`; a missing, unknown or newer field is an error."""
        values = dict(plain)
        if values.pop("schema", None) != SCHEMA:
            raise InputError(f"This TDQ reads studies of components of schema {SCHEMA}. Got {plain.get('schema')!r}.")
        try:
            values["spec"] = RunSpec.from_dict(plain["spec"])
            values["layers"] = tuple(_layer_from(layer) for layer in plain["layers"])
            return cls(**{**values, "notes": tuple(plain["notes"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"This is not a study of components of schema {SCHEMA}: {error}.") from error


def _layer_from(plain: Mapping[str, Any]) -> LayerComponents:
    variants = {
        name: Variant(
            tuple(v["norms"]),
            v["rel_error"],
            {s: Stage(**_tuples(w)) for s, w in v["stages"].items()},
            {s: Inner(**_tuples(a)) for s, a in v["inner"].items()},
        )
        for name, v in plain["variants"].items()
    }
    return LayerComponents(**{**_tuples(plain), "variants": variants})


def _tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}


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
    plain = dataclasses.replace(spec.dense(), calib=spec.calib, calib_samples=spec.calib_samples, samples=None)
    return dataclasses.replace(plain, method="cp", rule=rule, epc=True, eta=eta, precision="int8")


def study_id(spec: RunSpec, digests: Mapping[str, str]) -> str:
    """16 hexadecimal digits that name the study of `spec` with these contents of model and calibration images."""
    seen = {role: digests[role] for role in ("model", "calib")}
    return spec.run_id({**seen, "study": f"components {SCHEMA}"})


def study_folders() -> tuple[Path, ...]:
    """Where studies are looked for; new ones go to the first."""
    return runs_folder() / "components", shipped_folder() / "components"


def study_paths(folders: Sequence[Path] | None = None) -> Iterator[Path]:
    """Every study's file, each study once, earlier folders first."""
    seen: set[str] = set()
    for folder in folders or study_folders():
        for path in sorted(folder.glob("*.json")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield path


def read_study(path: Path) -> Components:
    """Read one study; a torn or foreign file is an error that names it."""
    try:
        return Components.from_dict(json.loads(path.read_text()))
    except (ValueError, InputError) as error:
        raise InputError(f"The study '{path}' cannot be read: {error} Move it away or compute it again.") from error


def write_study(study: Components, folder: Path | None = None) -> Path:
    """Keep `study` as `<study_id>.json`."""
    return write_atomically((folder or study_folders()[0]) / f"{study.study_id}.json", study.to_json())
