"""How long the layers of a network take, dense and in every form, on one machine: the numbers, and where they are kept.

Measured by `tdq_core.pipeline.layer_times`. A plan's time is that of the dense network, with what its layers take in
their new forms in place of what they took. No torch here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tdq_core.errors import InputError
from tdq_core.layers.table import LayerTable
from tdq_core.layers.times import FormTime, of_plan, sound
from tdq_core.ranks.plan import LayerPlan
from tdq_core.records.bounds import Id, Named, Positive
from tdq_core.records.record import Kept, RunRecord, read_kept, require_schema
from tdq_core.records.sound import require
from tdq_core.records.store import Kind
from tdq_core.specs import RunSpec
from tdq_core.specs.precision import ONNXRUNTIME
from tdq_core.system import machine

SCHEMA = 1
DENSE = "none"
NUMBERS = 500_000
"""As many as lie near the core. A decomposed network that is called again and again mostly finds there what its layers
read: told from files 8 times as large, plans are faster than told by 4 %, 300 times as large by 14 %."""


class Conditions(Kept, frozen=True):
    """Under which a time is one.

    Attributes:
        precision: of the file that ONNX Runtime runs; batch: images a call; threads: of the runtime.
        cpu: its model, and the flags that kernels are chosen by; runtime: its version.
        numbers: inputs, weights and outputs of the operations that are timed in turn, at most; in TDQ 0.19
            4 million, before so many.
        by_weights: whether what layers take more in a network that is too large for the caches is told by their
            weights; until TDQ 0.20 it made all forms slower alike.
    """

    precision: Named
    batch: Positive
    threads: Positive
    cpu: Named
    runtime: Named
    numbers: Positive = 150_000_000
    by_weights: bool = False

    @classmethod
    def here(cls, precision: str, *, batch: int, threads: int) -> "Conditions":
        """Those of this machine."""
        about = machine.describe()
        cpu = f"{about['cpu']} ({', '.join(about['cpu_flags']) or 'no flags known'})"
        version = (about["versions"] or {}).get(ONNXRUNTIME.name) or "none"
        return cls(precision=precision, batch=batch, threads=threads, cpu=cpu, runtime=version, numbers=NUMBERS,
                   by_weights=True)  # fmt: skip

    def __str__(self) -> str:
        """'INT8, batch 1, 1 thread'."""
        return f"{self.precision}, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class LayerTimes(Kept, frozen=True):
    """One network under one set of conditions.

    Attributes:
        spec: the dense network at the precision; digests: of the model.
        dense_ns: a call of the whole dense network, in nanoseconds.
        layers: by name, the forms in which each was timed.
    """

    times_id: Id
    spec: RunSpec
    digests: Mapping[str, str]
    conditions: Conditions
    dense_ns: Positive
    layers: Mapping[Named, tuple[FormTime, ...]]
    provenance: Mapping[str, Any]

    @property
    def content(self) -> str:
        """SHA-256 of what was measured: what plans by it follow from."""
        measured = (self.digests, self.conditions, self.dense_ns, self.layers)
        return hashlib.sha256(msgspec.json.encode(measured, order="deterministic")).hexdigest()

    def to_json(self) -> str:
        plain = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        return json.dumps({"schema": SCHEMA} | plain | {"spec": self.spec.to_dict()}, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "LayerTimes":
        """The inverse of `to_json`; InputError where it is another or a damaged one."""
        require_schema(plain, SCHEMA, "layer times")
        values = {name: value for name, value in plain.items() if name != "schema"}
        found = read_kept(values, cls, f"a file of layer times of schema {SCHEMA}")
        for name, forms in found.layers.items():
            require(all(map(sound, forms)), f"The times of its layer '{name}' do not fit its ranks")
            methods = [form.method for form in forms]
            require(DENSE in methods and len(set(methods)) == len(methods), f"The forms of its layer '{name}' are none")
        return found


LAYER_TIMES = Kind("table of layer times", "time the layers again", "layer_times", lambda found: found.times_id,
                   LayerTimes.from_dict)  # fmt: skip
"""One JSON file a network and set of conditions."""


def times_id(digest: str, conditions: Conditions) -> str:
    """The name of the times of the network with this digest."""
    asked = {"schema": SCHEMA, "model": digest} | msgspec.to_builtins(conditions)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def plans_by_time(spec: RunSpec) -> bool:
    """Whether the ranks of `spec` follow from layer times."""
    return spec.rule is not None and spec.rule.budget == "latency"


def times_for(spec: RunSpec, every: Iterable[LayerTimes], *, digest: str | None = None) -> LayerTimes | None:
    """Those of the network of `spec` on this machine, under the conditions that its rule names, or one image on one
    thread; the latest.

    Args:
        digest: of the network's content; None: its name and weights have to do.
    """
    batch, threads = (spec.rule.batch, spec.rule.threads) if spec.rule else (1, 1)
    wanted = Conditions.here(spec.precision.name, batch=batch, threads=threads)
    fitting = [t for t in every if t.conditions == wanted
               and (t.digests["model"] == digest if digest else t.spec.model == spec.model)]  # fmt: skip
    return max(fitting, key=lambda t: str(t.provenance.get("time", "")), default=None)


def timed(table: LayerTable, found: LayerTimes) -> LayerTable:
    """`table` with the times of its layers."""
    layers = tuple(replace(la, times=found.layers.get(la.name, ())) for la in table.layers)
    return replace(table, layers=layers, dense_ns=found.dense_ns)


def time_of(found: LayerTimes, layers: Iterable[LayerPlan]) -> int | None:
    """Nanoseconds of a call of the network whose layers become `layers`; None where one was not timed in its form."""
    return of_plan(found.dense_ns, ((found.layers.get(p.layer.name, ()), p.method, p.ranks) for p in layers))


def of_record(found: LayerTimes, record: RunRecord) -> int | None:
    """The same of a measured run."""
    parts = ((found.layers.get(kept.name, ()), kept.method, kept.ranks) for kept in record.layers)
    return of_plan(found.dense_ns, parts)


def require_times(spec: RunSpec, every: Iterable[LayerTimes], *, digest: str | None = None) -> LayerTimes:
    """Those that the ranks of `spec` follow from; InputError where they were not measured."""
    found = times_for(spec, every, digest=digest)
    if found is None:
        raise InputError(missing(spec))
    return found


def missing(spec: RunSpec) -> str:
    """Why nothing is known of a plan's time, and the way out."""
    batch, threads = (spec.rule.batch, spec.rule.threads) if spec.rule else (1, 1)
    wanted = Conditions.here(spec.precision.name, batch=batch, threads=threads)
    return (
        f"The layers of '{spec.model.name}' were not timed on this machine ({wanted}): `tdq layer-times` with the same "
        "model, images and precision times them."
    )
