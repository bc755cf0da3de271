"""Records of runs as the index holds them: layers and provenance stay packed until somebody asks. No torch here."""

import functools
from typing import Any

import msgspec
from msgspec import structs

from tdq_core.errors import InputError
from tdq_core.records.deferred import DeferredMapping, DeferredTuple, packed
from tdq_core.records.record import LayerRecord, Metrics, RunRecord, State
from tdq_core.specs import RunSpec

Drop = tuple[float, float, float]


class _Packed(msgspec.Struct, array_like=True):
    """A record, in the order in which it is packed."""

    run_id: str
    state: State
    spec: bytes
    seed: int
    metrics: Metrics | None
    baseline: Metrics | None
    notes: tuple[str, ...]
    digests: dict[str, str]
    reason: str | None
    drop: Drop | None
    layers: bytes
    provenance: bytes


_DECODER = msgspec.msgpack.Decoder(_Packed)


def _packed_spec(spec: RunSpec) -> bytes:
    """Without its seed: runs that differ in nothing else share the rest."""
    return msgspec.msgpack.encode(spec.to_dict() | {"seed": 0})


@functools.lru_cache(1 << 14)
def _spec(packed: bytes) -> RunSpec:
    return RunSpec.recorded(msgspec.msgpack.decode(packed))


def pack(record: RunRecord) -> bytes:
    """A record, with its drop, as bytes; UnicodeError where one of its texts cannot be written."""
    return msgspec.msgpack.encode(
        _Packed(
            record.run_id, record.state, _packed_spec(record.spec), record.spec.seed, record.metrics, record.baseline,
            record.notes, dict(record.digests), record.reason, record.drop() if record.metrics else None,
            packed(tuple(record.layers)), packed(dict(record.provenance)),
        )
    )  # fmt: skip


def unpack(data: bytes) -> RunRecord:
    """The inverse of `pack`; a ValueError where it is none."""
    held = _DECODER.decode(data)
    try:
        spec = _spec(held.spec)
        spec = spec if held.seed == spec.seed else structs.replace(spec, seed=held.seed)
    except InputError as error:
        raise ValueError(str(error)) from error
    layers: Any = DeferredTuple(held.layers, tuple[LayerRecord, ...])
    return RunRecord.with_drop(
        held.drop, run_id=held.run_id, state=held.state, spec=spec, metrics=held.metrics, baseline=held.baseline,
        layers=layers, notes=held.notes, digests=held.digests,
        provenance=DeferredMapping(held.provenance, dict[str, Any]), reason=held.reason,
    )  # fmt: skip
