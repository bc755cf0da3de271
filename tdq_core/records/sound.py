"""Whether the parts of a record fit each other: asked of every record that is read from a file. No torch here.

Types and ranges are declared where the fields are; here is what no single field can say. Whoever draws, tells or sums
up a record that has passed need not look again.
"""

import base64
import math
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tdq_core.errors import InputError
from tdq_core.records.bounds import Amount, Named, Natural, Points, Positive
from tdq_core.stats.moves import unpack_moves

if TYPE_CHECKING:
    from tdq_core.records.record import LayerRecord, Metrics, RunRecord

_CLOSE = 1e-6
"""Shares and ratios are written in full; this much is left to other arithmetic."""


class ToldPrediction(Struct, frozen=True):
    """What had been predicted of a drop before it was measured, with its 90 % interval; or why nothing was."""

    drop: Points | None = None
    low: Points | None = None
    high: Points | None = None
    reason: str | None = None
    within_noise: bool = False
    runs: Natural = 0


class Told(Struct, frozen=True):
    """What is told of provenance, where it is there; everything else in it may be anything."""

    split: str | None = None
    n: Positive | None = None
    calib_split: str | None = None
    calib_n: Positive | None = None
    weights: str | None = None
    time: str | None = None
    cpu: str | None = None
    threads: Positive | None = None
    cpu_flags: tuple[str, ...] = ()
    versions: dict[str, str | None] | None = None
    predicted: ToldPrediction | None = None


class ToldOfLayer(Struct, frozen=True):
    """What pages read of a layer's detail."""

    groups: Positive = 1
    spread_before: Annotated[tuple[Amount, ...], Meta(min_length=1)] = (0.0,)
    spread_after: Annotated[tuple[Amount, ...], Meta(min_length=1)] = (0.0,)


class Digests(Struct, frozen=True):
    """The contents that a run stands on; others may be named beside them."""

    model: Named
    data: Named
    calib: Named | None = None


def require(holds: bool, what: str) -> None:
    """Return where it holds; InputError, as a sentence, where it does not."""
    if not holds:
        raise InputError(f"{what}.")


def require_as(value: Any, kind: Any, name: str) -> None:
    """Return where `value` can be read as `kind`; InputError, as a sentence about `name`, where it cannot."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"Its '{name}' is damaged: {error}.") from error


def require_text(*texts: str) -> None:
    """Return where every text says something."""
    require(all(text.strip() for text in texts), "One of its texts is blank")


def require_sound(record: "RunRecord") -> None:
    """Return where the parts of a run's record fit each other; InputError, in a sentence, where they do not."""
    require_as(record.digests, Digests, "digests")
    require_as(record.digests, dict[str, Named], "digests")
    require_as(record.provenance, Told, "provenance")
    require_text(*record.notes, *([] if record.reason is None else [record.reason]))
    names = [layer.name for layer in record.layers]
    require(len(set(names)) == len(names), "A layer is there twice")
    for layer in record.layers:
        _require_layer(layer)
    if record.metrics and record.baseline:
        _require_metrics(record.metrics)
        if record.baseline != record.metrics:
            _require_metrics(record.baseline)
        _require_pair(record.metrics, record.baseline)


def _require_layer(layer: "LayerRecord") -> None:
    taken = layer.method != "none"
    require(
        taken == bool(layer.ranks) and taken == (layer.rel_error is not None),
        f"Its layer '{layer.name}' has ranks and an error exactly where it is decomposed, and here it has not",
    )
    require(
        taken or layer.skipped_because is None or bool(layer.skipped_because.strip()),
        f"Its layer '{layer.name}' was left alone for a reason that is blank",
    )
    require_as(layer.detail, ToldOfLayer, f"detail of {layer.name}")


def _require_metrics(metrics: "Metrics") -> None:
    try:
        packed = base64.b64decode(metrics.outcomes, validate=True)
    except ValueError as error:
        raise InputError("Its outcomes are not base64 text.") from error
    require(len(packed) == (metrics.n + 7) // 8, f"Its outcomes are not those of {metrics.n:,} images")
    bits = int.from_bytes(packed)
    require(
        not bits & ((1 << (8 * len(packed) - metrics.n)) - 1), f"Its outcomes are of more than {metrics.n:,} images"
    )
    require(abs(bits.bit_count() / metrics.n - metrics.top1) < _CLOSE, "Its top-1 is not that of its outcomes")
    if metrics.moved is not None:
        _require_moves(metrics.moved, metrics.n)
    require(metrics.top1_low <= metrics.top1 + _CLOSE and metrics.top1 <= metrics.top1_high + _CLOSE,
            "Its top-1 lies outside of its interval")  # fmt: skip
    if latency := metrics.latency:
        require(
            0 < latency.q1_ms <= latency.median_ms <= latency.q3_ms, "The quartiles of its latency are out of order"
        )


def _require_moves(moved: str, n: int) -> None:
    try:
        found = unpack_moves(moved, n)
    except ValueError as error:
        raise InputError(f"How far its answers moved cannot be read: {error}") from error
    require(not (found < 0).any(), "Its answers moved by less than nothing")


def _require_pair(metrics: "Metrics", baseline: "Metrics") -> None:
    require(metrics.n == baseline.n, "Its baseline was measured on another number of images")
    require((metrics.macs > 0) == (baseline.macs > 0), "It has MACs and its baseline has none, or the other way round")
    ratio = baseline.params / metrics.params
    require(
        math.isclose(metrics.compression_ratio, ratio, rel_tol=_CLOSE),
        "Its compression ratio is not that of its params",
    )
