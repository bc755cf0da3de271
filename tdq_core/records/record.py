"""The record of one run: what was asked, what was measured, on what, and what was not done. No torch here."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tdq_core.errors import InputError
from tdq_core.specs import RunSpec
from tdq_core.stats.intervals import pack_outcomes, paired_mean, unpack_outcomes, wilson

SCHEMA = 1
STATES = ("complete", "failed", "refused")


@dataclass(frozen=True)
class Metrics:
    """What was measured on one model.

    Attributes:
        top1, top1_low, top1_high: share of images classified right (0-1) and its 95 % Wilson interval.
        n: number of images.
        params: number of parameters of the built model (batch norm included, buffers not).
        macs: multiply-accumulates of one image, counted on the built model.
        bytes: size of the artefact on disk.
        compression_ratio: params of the dense model / params of this one.
        outcomes: per-image right/wrong, packed (see `intervals.pack_outcomes`), in the order of the data.
        latency: median and quartiles in milliseconds with batch and threads, or None where not asked for.
    """

    top1: float
    top1_low: float
    top1_high: float
    n: int
    params: int
    macs: int
    bytes: int
    compression_ratio: float
    outcomes: str
    latency: Mapping[str, Any] | None = None

    @classmethod
    def measured(cls, correct: np.ndarray, *, params: int, macs: int, bytes: int, dense_params: int,
                 latency: Mapping[str, Any] | None = None) -> "Metrics":  # fmt: skip
        """Metrics from per-image outcomes, a bool array of shape (n,)."""
        n, right = len(correct), int(np.sum(correct))
        low, high = wilson(right, n)
        return cls(
            right / n,
            low,
            high,
            n,
            params,
            macs,
            bytes,
            dense_params / params,
            pack_outcomes(correct),
            latency,
        )

    def correct(self) -> np.ndarray:
        """Per-image right/wrong as a bool array of shape (n,)."""
        return unpack_outcomes(self.outcomes, self.n)

    def drop_from(self, before: "Metrics") -> tuple[float, float, float]:
        """Top-1 lost against `before` on the same images, as (points 0-1, low, high): paired by image, 95 %."""
        return paired_mean(before.correct().astype(float) - self.correct().astype(float))


@dataclass(frozen=True)
class LayerRecord:
    """One layer that could hold parameters worth compressing, decomposed or not.

    Attributes:
        name: dotted path in the model.
        method: 'tucker2', 'cp', 'svd', or 'none' where the layer was left alone.
        ranks: tucker2 (rank_out, rank_in); cp and svd (rank,); () where the layer was left alone.
        params, macs: of the layer as built.
        dense_params, dense_macs: of the original layer.
        rel_error: |W - W~| / |W| (Frobenius), None where the layer was left alone.
        skipped_because: why the layer was left alone, None where it was decomposed.
        detail: what the method tells of itself (sweeps, converged, ...).
    """

    name: str
    method: str
    ranks: tuple[int, ...]
    params: int
    macs: int
    dense_params: int
    dense_macs: int
    rel_error: float | None = None
    skipped_because: str | None = None
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """One run. A complete record has metrics and baseline; a failed or refused one has a reason and neither.

    Attributes:
        run_id: digest of the spec and of the model's, the images' and the calibration images' contents.
        notes: what a reader must know before trusting the numbers, one sentence each; shown on the screen.
        provenance: versions, CPU flags, threads, digests, splits, time.
        digests: the contents that `run_id` stands for, by role.
    """

    run_id: str
    state: str
    spec: RunSpec
    metrics: Metrics | None
    baseline: Metrics | None
    layers: tuple[LayerRecord, ...]
    notes: tuple[str, ...]
    digests: Mapping[str, str]
    provenance: Mapping[str, Any]
    reason: str | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "provenance", json.loads(json.dumps(dict(self.provenance))))  # as it is read back
        if self.state not in STATES:
            raise InputError(f"A record's 'state' must be one of {', '.join(STATES)}. Got '{self.state}'.")
        complete = self.state == "complete"
        if complete != (self.metrics is not None) or complete != (self.baseline is not None):
            raise InputError(f"Run {self.run_id} is '{self.state}': only complete runs have metrics, and they all do.")
        if complete == (self.reason is not None):
            raise InputError(f"Run {self.run_id} is '{self.state}': a reason goes with failed and refused runs only.")

    def drop(self) -> tuple[float, float, float]:
        """Top-1 lost against the dense fp32 model, as (points 0-1, low, high): paired by image, 95 %.

        The run that is its own baseline loses nothing by definition, without an interval.
        """
        assert self.metrics and self.baseline, "asked of complete runs only"
        if self.metrics == self.baseline:
            return 0.0, 0.0, 0.0
        return self.metrics.drop_from(self.baseline)

    def bytes_ratio(self) -> float:
        """File size of the dense fp32 model / file size of this one."""
        assert self.metrics and self.baseline, "asked of complete runs only"
        return self.baseline.bytes / self.metrics.bytes

    def to_dict(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain |= {
            "spec": self.spec.to_dict(),
            "metrics": _plain(self.metrics),
            "baseline": _plain(self.baseline),
            "layers": [_plain(layer) for layer in self.layers],
            "notes": list(self.notes),
            "digests": dict(self.digests),
            "provenance": dict(self.provenance),
        }
        return plain

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "RunRecord":
        """The inverse of `to_dict`; strict: a missing, unknown or newer field is an error, never a guess."""
        if plain.get("schema") != SCHEMA:
            raise InputError(f"This TDQ reads run records of schema {SCHEMA}. Got {plain.get('schema')!r}.")
        values = dict(plain)
        try:
            values["spec"] = RunSpec.from_dict(plain["spec"])
            values["metrics"] = Metrics(**plain["metrics"]) if plain["metrics"] else None
            values["baseline"] = Metrics(**plain["baseline"]) if plain["baseline"] else None
            values["layers"] = tuple(LayerRecord(**{**la, "ranks": tuple(la["ranks"])}) for la in plain["layers"])
            values["notes"] = tuple(plain["notes"])
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"This is not a run record of schema {SCHEMA}: {error}.") from error


def _plain(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    plain = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {k: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v for k, v in plain.items()}
