"""A sweep from its file to its records: planned, opened, measured where it is not yet.

No torch here until it is opened.
"""

import contextlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.sweeps.grid import Grid
from tdq_core.sweeps.planned import tasks_of
from tdq_core.sweeps.watch import UNWATCHED, Watch
from tdq_core.system.extras import require_extra
from tdq_core.system.machine import free_memory
from tdq_core.system.progress import Progress, silent

if TYPE_CHECKING:
    from tdq_core.sweeps.cluster import Cluster
    from tdq_core.sweeps.opened import Named


LEAST_MEMORY = 1_500_000_000
"""Bytes that a worker should have: torch and a small network take a third of that."""


@dataclass(frozen=True)
class Machines:
    """Where and within which limits a sweep is measured.

    Attributes:
        workers: on this machine; None: as many as suit it.
        scheduler: of a Dask cluster that is there already, as tcp://HOST:PORT; None: workers on this machine.
        resources: that a worker of it must have, as {"GPU": 1}.
        timeout: seconds that each run may take, opening the network in its worker included; None: any.
        memory: bytes that each worker may take; None: on this machine an equal share of what is free, elsewhere any.
    """

    workers: int | None = None
    scheduler: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    timeout: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.scheduler and self.workers is not None:
            raise InputError("A cluster that is there has its own workers: give either workers or a scheduler.")
        if self.resources and not self.scheduler:
            raise InputError("Resources are those of a cluster's workers: give its scheduler too.")
        least = {"workers": 1, "timeout": 0, "memory": 0}
        for name, low in least.items():
            given = getattr(self, name)
            if given is not None and not (low <= given < float("inf") and given):
                raise InputError(f"The '{name}' must be {'at least 1' if low else 'above 0'}. Got {given}.")
        if any(not 0 < amount < float("inf") for amount in self.resources.values()):
            raise InputError(f"The amount of a resource must be above 0. Got {dict(self.resources)}.")


HERE = Machines()
"""As many workers as suit this machine, without limits but for an equal share of its memory."""


def workers_here(tasks: int) -> int:
    """How many workers suit this machine: one for each core and for the memory that is free, not more than tasks."""
    from dask.system import CPU_COUNT

    return max(1, min(CPU_COUNT, free_memory() // LEAST_MEMORY, tasks))


@dataclass(frozen=True)
class Swept:
    """What a sweep has come to.

    Attributes:
        records: those of its runs that there are, in the order of the file; reused: how many were there before.
        complaints: why others could not be measured, a sentence each; not_kept: why a record could not be written.
    """

    records: tuple[RunRecord, ...]
    reused: int
    complaints: tuple[str, ...]
    not_kept: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every run is measured and kept."""
        return not (self.complaints or self.not_kept or any(r.state != "complete" for r in self.records))


def carry_out(
    grid: Grid,
    *,
    machines: Machines = HERE,
    store: RunStore | None = None,
    watch: Watch = UNWATCHED,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Swept:
    """Measure what is not measured yet of `grid`; each record is kept as soon as it comes.

    A run that fails has a record that says why, and the others go on; asked for again, it is tried again. Whatever is
    killed meanwhile, the same call goes on where it was.

    Args:
        allowed_models: models that are not registered but may be loaded; None: any.

    Raises:
        InputError: a network or images that cannot be opened, a cluster that is not there or has no such workers, a
            folder that cannot be written to; nothing was measured.
        NotNow: the cluster was lost; what was measured is kept.
    """
    from tdq_core.sweeps.opened import named

    require_extra("sweep")
    store = store or RunStore()
    store.require_writable()
    by_spec = named(grid.specs, on_progress, allowed_models)
    wanted = {by_spec[spec].run_id: by_spec[spec] for spec in grid.specs}
    known = {name: record for name in wanted if (record := _answer(store, name))}
    tasks, dense = _tasks(by_spec, wanted, known, store)
    came = dict[str, RunRecord]()
    complaints, not_kept = list[str](), list[str]()

    def on_record(record: RunRecord, seconds: float, sentence: str) -> None:
        came[record.run_id] = record
        not_kept.extend(filter(None, [sentence]))
        watch.on_record(record, seconds, sentence)

    def on_complaint(spec: RunSpec, sentence: str) -> None:
        complaints.append(sentence)
        watch.on_complaint(spec, sentence)

    if tasks:
        if not machines.scheduler and any((s.precision.name, s.precision.backend) == _PT2E for s in by_spec):
            require_extra("pt2e")
        own = replace(watch, on_record=on_record, on_complaint=on_complaint)
        _measure(tasks, dense, machines, store, own)
    records = {**known, **came}
    in_order = tuple(records[name] for name in wanted if name in records)
    return Swept(in_order, len(known), tuple(complaints), tuple(not_kept))


_PT2E = ("int8", "torch")


def _answer(store: RunStore, name: str) -> RunRecord | None:
    """What is recorded under this name, where that need not be measured again."""
    with contextlib.suppress(InputError):  # what cannot be read is measured again
        record = store.get(name)
        return record if record and record.state != "failed" else None
    return None


def _tasks(
    by_spec: Mapping[RunSpec, "Named"],
    wanted: Mapping[str, "Named"],
    known: Mapping[str, RunRecord],
    store: RunStore,
) -> tuple[list[tuple["Named", ...]], dict[str, RunRecord]]:
    """What is to be measured, by what it shares; and the dense runs that are there already, by id."""
    missing = {name: each for name, each in wanted.items() if name not in known}
    dense_ids = dict.fromkeys(each.dense_id for each in missing.values())
    dense = {name: record for name in dense_ids if (record := _answer(store, name)) and record.metrics}
    first = {each.run_id: each for each in by_spec.values() if each.run_id in dense_ids and each.run_id not in dense}
    own = {each.spec: each for each in {**first, **missing}.values()}
    return [tuple(own[spec] for spec in task) for task in tasks_of(own)], dense


def _measure(
    tasks: "list[tuple[Named, ...]]", dense: Mapping[str, RunRecord], machines: Machines, store: RunStore, watch: Watch
) -> None:
    from tdq_core.sweeps.cluster import at, here
    from tdq_core.sweeps.engine import Engine, Limits

    cluster: contextlib.AbstractContextManager[Cluster]
    if machines.scheduler:
        cluster = at(machines.scheduler, machines.resources, machines.memory)
    else:
        cluster = here(machines.workers or workers_here(len(tasks)), machines.memory)
    with cluster as there:
        watch.on_start(sum(map(len, tasks)), len(tasks), there.described())
        limits = Limits(machines.timeout, machines.resources)
        Engine(there, store, limits, watch, f"tdq-{secrets.token_hex(8)}").carry_out(tasks, dense)
