"""What a sweep's client and its workers say to each other: plain JSON, so that nothing foreign is unpickled. No torch
here."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec


class Ask(Struct, frozen=True):
    """One run that a worker is asked for.

    Attributes:
        spec: in its flat form.
        run_id: its name, which the worker must find too; digests: of the contents that the name stands for.
    """

    spec: dict[str, Any]
    run_id: str
    digests: dict[str, str]


class Order(Struct, frozen=True):
    """Runs that share factors, for one worker.

    Attributes:
        sweep: the topic under which answers and progress are told.
        asks: in their order.
        baselines: records of the dense models that drops are taken from, as JSON.
        timeout: seconds that each run may take; None: no limit.
        memory: bytes that the measuring process may take; None: no limit.
    """

    sweep: str
    asks: tuple[Ask, ...]
    baselines: tuple[str, ...] = ()
    timeout: float | None = None
    memory: int | None = None


Kind = Literal["record", "complaint"]


class Answer(Struct, frozen=True, tag=True):
    """What became of one run.

    Attributes:
        kind: 'record' (complete, failed or refused: to be kept) or 'complaint' (nothing was measured, nothing is to be
            kept).
        text: the record as JSON, or a sentence.
        seconds: that it took.
    """

    run_id: str
    kind: Kind
    text: str
    seconds: float = 0.0

    @property
    def record(self) -> RunRecord:
        """The record; InputError where it is none."""
        return RunRecord.from_dict(json.loads(self.text))


class Step(Struct, frozen=True, tag=True):
    """Where a worker is at this moment, for the table that is shown meanwhile."""

    worker: str
    run_id: str
    stage: str
    done: int
    total: int


def packed(message: Struct) -> str:
    """A message as JSON."""
    return msgspec.json.encode(message).decode()


def order_of(text: str) -> Order:
    """The inverse of `packed` for orders."""
    return msgspec.json.decode(text, type=Order)


def told_by(text: str) -> Answer | Step:
    """The inverse of `packed` for what workers tell meanwhile."""
    return msgspec.json.decode(text, type=Answer | Step)


def answers_of(text: str) -> list[Answer]:
    """The answers to an order, from what its task gives back."""
    return msgspec.json.decode(text, type=list[Answer])


def unmeasured(ask: Ask, reason: str, provenance: Mapping[str, Any]) -> RunRecord:
    """The record of a run that stopped before it could tell anything of itself."""
    return RunRecord(
        run_id=ask.run_id, state="failed", spec=RunSpec.from_dict(ask.spec), metrics=None, baseline=None, layers=(),
        notes=(), digests=ask.digests, provenance=provenance, reason=reason,
    )  # fmt: skip
