"""The record of one run: what was asked, what was measured, on what, and what was not done. No torch here."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from tdq_core.errors import InputError
from tdq_core.layers.table import ranks_text
from tdq_core.records.bounds import Amount, Id, Named, Natural, Positive, Ratio, Share
from tdq_core.records.deferred import Deferred
from tdq_core.records.sound import require_sound
from tdq_core.specs import RunSpec
from tdq_core.stats.intervals import pack_outcomes, paired_mean, unpack_outcomes, wilson
from tdq_core.stats.moves import pack_moves, unpack_moves

SCHEMA = 1
T = TypeVar("T", bound="Kept")
M = TypeVar("M")
State = Literal["complete", "failed", "refused"]


class Kept(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that is written to a file; what is read back has every field, of its type, and no other."""


class Latency(Kept, frozen=True):
    """Time of one call in milliseconds, after a warm-up: median and quartiles over `repeats` calls."""

    median_ms: Amount
    q1_ms: Amount
    q3_ms: Amount
    batch: Positive
    threads: Positive
    repeats: Positive


class Metrics(Kept, frozen=True):
    """What was measured on one model.

    Attributes:
        top1, top1_low, top1_high: share of images classified right (0-1) and its 95 % Wilson interval.
        n: number of images.
        params: number of parameters of the built model (batch norm included, buffers not).
        macs: multiply-accumulates of one image, counted on the built model.
        bytes: size of the artefact on disk.
        compression_ratio: params of the dense model / params of this one.
        outcomes: per-image right/wrong, packed (see `intervals.pack_outcomes`), in the order of the data.
        latency: None where it was not asked for.
        moved: per image, how far the answer is from that of the dense fp32 model (see `stats.moves.pack_moves`), in
            the order of the data; None for that model itself, and where it was measured before this was kept.
    """

    top1: Share
    top1_low: Share
    top1_high: Share
    n: Positive
    params: Positive
    macs: Natural
    bytes: Positive
    compression_ratio: Ratio
    outcomes: str
    latency: Latency | None = None
    moved: str | None = None

    @classmethod
    def measured(cls, correct: np.ndarray, *, params: int, macs: int, bytes: int, dense_params: int,
                 latency: Latency | None = None, moved: np.ndarray | None = None) -> "Metrics":  # fmt: skip
        """Metrics from per-image outcomes, a bool array of shape (n,), and how far each answer moved, of that shape."""
        n, right = len(correct), int(np.sum(correct))
        low, high = wilson(right, n)
        return cls(
            top1=right / n, top1_low=low, top1_high=high, n=n, params=params, macs=macs, bytes=bytes,
            compression_ratio=dense_params / params, outcomes=pack_outcomes(correct), latency=latency,
            moved=None if moved is None else pack_moves(moved),
        )  # fmt: skip

    def correct(self) -> np.ndarray:
        """Per-image right/wrong as a bool array of shape (n,)."""
        return unpack_outcomes(self.outcomes, self.n)

    def moves(self) -> np.ndarray | None:
        """Per image, the squared change of the logits against the dense fp32 model's over their mean square: float64 of
        shape (n,), not finite where an answer is not; None where it was not kept."""
        return None if self.moved is None else unpack_moves(self.moved, self.n)

    def drop_from(self, before: "Metrics") -> tuple[float, float, float]:
        """Top-1 lost against `before` on the same images, as (points 0-1, low, high): paired by image, 95 %."""
        return paired_mean(before.correct().astype(float) - self.correct().astype(float))


class LayerRecord(Kept, frozen=True):
    """One layer that could hold parameters worth compressing, decomposed or not.

    Attributes:
        name: dotted path in the model.
        method: 'tucker2', 'cp', 'svd', 'spatial', or 'none' where the layer was left alone.
        ranks: tucker2 (rank_out, rank_in); the others (rank,); () where the layer was left alone. Of a grouped
            convolution, whose `detail` holds its `groups`, each group has these.
        params, macs: of the layer as built.
        dense_params, dense_macs: of the original layer.
        rel_error: |W - W~| / |W| (Frobenius), None where the layer was left alone.
        skipped_because: why the layer was left alone, None where it was decomposed.
        detail: what the method tells of itself (sweeps, converged, ...).
    """

    name: Named
    method: Named
    ranks: tuple[Positive, ...]
    params: Natural
    macs: Natural
    dense_params: Natural
    dense_macs: Natural
    rel_error: Amount | None = None
    skipped_because: str | None = None
    detail: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def ranks_text(self) -> str:
        """For people: '32 x 16', '3 x 3 a group'; '' where the layer was left alone."""
        return ranks_text(self.ranks, self.detail.get("groups", 1))

    @property
    def bits(self) -> int | None:
        """Of its weights, where they were chosen or given layer by layer."""
        found = self.detail.get("bits")
        return found if type(found) is int and 2 <= found <= 8 else None


class RunRecord(Kept, frozen=True, dict=True):
    """One run. A complete record has metrics and baseline; a failed or refused one has a reason and neither.

    Attributes:
        run_id: digest of the spec and of the model's, the images' and the calibration images' contents.
        notes: what a reader must know before trusting the numbers, one sentence each; shown on the screen.
        provenance: versions, CPU flags, threads, digests, splits, time.
        digests: the contents that `run_id` stands for, by role.
    """

    run_id: Id
    state: State
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
        if not isinstance(self.provenance, Deferred):
            as_read = json.loads(json.dumps(dict(self.provenance)))
            msgspec.structs.force_setattr(self, "provenance", as_read)
        complete = self.state == "complete"
        if complete != (self.metrics is not None) or complete != (self.baseline is not None):
            raise InputError(f"Run {self.run_id} is '{self.state}': only complete runs have metrics, and they all do.")
        if complete == (self.reason is not None):
            raise InputError(f"Run {self.run_id} is '{self.state}': a reason goes with failed and refused runs only.")

    def drop(self) -> tuple[float, float, float]:
        """Top-1 lost against the dense fp32 model, as (points 0-1, low, high): paired by image, 95 %.

        The run that is its own baseline loses nothing by definition, without an interval.
        """
        return self._drop

    @functools.cached_property
    def _drop(self) -> tuple[float, float, float]:
        assert self.metrics and self.baseline, "asked of complete runs only"
        if self.metrics == self.baseline:
            return 0.0, 0.0, 0.0
        return self.metrics.drop_from(self.baseline)

    def remembered(self, make: "Callable[[RunRecord], M]") -> "M":
        """What `make` makes of this record, computed once for as long as the record is held: it must follow from the
        record alone, and be frozen."""
        held = vars(self)
        if make.__qualname__ not in held:
            held[make.__qualname__] = make(self)
        found: M = held[make.__qualname__]
        return found

    @classmethod
    def with_drop(cls, drop: tuple[float, float, float] | None, **fields: Any) -> "RunRecord":
        """The record with these fields, and its drop as it was computed before; None: it will be when asked for."""
        made = cls(**fields)
        if drop is not None:
            vars(made)["_drop"] = drop
        return made

    def bytes_ratio(self) -> float:
        """File size of the dense fp32 model / file size of this one."""
        assert self.metrics and self.baseline, "asked of complete runs only"
        return self.baseline.bytes / self.metrics.bytes

    def macs_ratio(self) -> float:
        """MACs of the dense model / MACs of this one; 1 of a network that has none."""
        assert self.metrics and self.baseline, "asked of complete runs only"
        return self.baseline.macs / self.metrics.macs if self.metrics.macs else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the spec in its flat form."""
        return {name: _plain(getattr(self, name)) for name in self.__struct_fields__}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "RunRecord":
        """The inverse of `to_dict`; strict: a missing, unknown or newer field is an error, never a guess."""
        require_schema(plain, SCHEMA, "run records")
        record = read_kept(plain, cls, f"a run record of schema {SCHEMA}")
        require_sound(record)
        return record


def require_schema(plain: Any, schema: int, what: str) -> None:
    """Return where the plain values of a file are an object of this schema."""
    found = plain.get("schema") if isinstance(plain, Mapping) else type(plain).__name__
    if type(found) is not int or found != schema:
        raise InputError(f"This TDQ reads {what} of schema {schema}. Got {found!r:.60}.")


UNFIT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What making a value of others' values may raise, beside InputError: msgspec's errors are ValueErrors."""


def read_kept(plain: Mapping[str, Any], kind: type[T], what: str) -> T:
    """A value of `kind` from plain JSON values, its `spec` in the flat form; InputError where they are not `what`."""
    try:
        values = dict(plain)
        if "spec" in values:
            values["spec"] = RunSpec.recorded(values["spec"])
        return msgspec.convert(values, kind)
    except UNFIT as error:
        raise InputError(f"This is not {what}: {str(error) or type(error).__name__}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Deferred):
        value = value.value
    if isinstance(value, RunSpec):
        return value.to_dict()
    plain = msgspec.to_builtins(value)
    if isinstance(value, Metrics) and value.moved is None:
        del plain["moved"]  # older runs are written as they were
    return plain
