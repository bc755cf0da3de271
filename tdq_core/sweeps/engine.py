"""The client of a sweep: orders go out, answers come back and are kept at once, what is lost is asked for again.

No torch here.
"""

import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import distributed

from tdq_core.errors import InputError, NotKept
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.sweeps.cluster import Cluster
from tdq_core.sweeps.messages import Answer, Order, answers_of, packed, told_by, unmeasured
from tdq_core.sweeps.opened import Named
from tdq_core.sweeps.watch import Watch
from tdq_core.sweeps.worker import carry_out
from tdq_core.system import machine

RETRIES = 2
"""Of what a lost worker was at; what is lost once more is a failed run."""
_TICK_S = 0.25


@dataclass(frozen=True)
class Limits:
    """What each run may take: `timeout` seconds (None: any), and `resources` of the worker that it runs on."""

    timeout: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


Job = tuple[Named, ...]
"""Runs that go out together."""


class Engine:
    """One sweep on one cluster."""

    def __init__(self, cluster: Cluster, store: RunStore, limits: Limits, watch: Watch, sweep: str) -> None:
        self.cluster, self.store, self.limits, self.watch, self.sweep = cluster, store, limits, watch, sweep
        self.inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        """What is to be done here about what happened elsewhere."""
        self.answered: set[str] = set()
        self.asked: dict[str, Named] = {}
        self.begun: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.out: dict[distributed.Future, Job] = {}
        self.baselines: dict[str, RunRecord] = {}
        self.waiting: deque[Job] = deque()

    def carry_out(self, jobs: list[Job], baselines: Mapping[str, RunRecord]) -> None:
        """Measure all runs of `jobs`; those that need a dense run which is still to be measured wait for it.

        Args:
            baselines: dense runs that are there already, by id.

        Raises:
            NotNow: the cluster is gone.
        """
        self.baselines = dict(baselines)
        self.asked = {named.run_id: named for job in jobs for named in job}
        self.waiting.extend(jobs)
        self.cluster.client.subscribe_topic(self.sweep, lambda event: self.inbox.put(partial(self._told, event[1])))
        try:
            while self.waiting or self.out:
                self.cluster.look_after()
                self._send()
                self._listen()
                self.watch.on_tick()
        finally:
            for future in self.out:
                future.release()
            self.cluster.leave(self.sweep)

    def _send(self) -> None:
        """Let out what waits, as much as there are workers for: who is lost takes nothing along that had not begun.
        Runs whose dense run is still to be measured go on waiting."""
        jobs, self.waiting, room = self.waiting, deque(), self.cluster.capacity()
        while jobs:
            job = jobs.popleft()
            if len(self.out) >= room or not self._sent(job):
                self.waiting.append(job)

    def _sent(self, job: Job) -> bool:
        job = tuple(named for named in job if named.run_id not in self.answered)
        own = {named.run_id for named in job}
        needed = {named.dense_id for named in job} - own
        if any(name not in self.baselines and name in self.asked and name not in self.answered for name in needed):
            return False
        if job:
            known = tuple(self.baselines[name].to_json() for name in sorted(needed & self.baselines.keys()))
            asks = tuple(named.ask for named in job)
            order = Order(self.sweep, asks, known, self.limits.timeout, self.cluster.memory)
            name = f"{self.sweep}-{job[0].run_id}-{time.monotonic_ns()}"
            resources = dict(self.limits.resources) or None
            future = self.cluster.client.submit(
                carry_out, packed(order), key=name, pure=False, retries=0, resources=resources
            )
            self.out[future] = job
            future.add_done_callback(lambda done: self.inbox.put(partial(self._done, done)))
        return True

    def _listen(self) -> None:
        """Take what has come in; waits a moment where nothing has."""
        try:
            self.inbox.get(timeout=_TICK_S)()
            while True:
                self.inbox.get_nowait()()
        except queue.Empty:
            return

    def _told(self, text: str) -> None:
        """What a worker tells meanwhile."""
        told = told_by(text)
        if isinstance(told, Answer):
            self._answer(told)
        elif at := self.asked.get(told.run_id):
            self.begun.add(told.run_id)
            self.watch.on_step(told.worker, at.spec, told.stage, told.done, told.total)

    def _done(self, future: distributed.Future) -> None:
        job = self.out.pop(future, ())
        if future.status == "finished":
            for answer in answers_of(future.result(timeout=60)):
                self._answer(answer)
        elif future.status == "error" and not isinstance(error := future.exception(), distributed.KilledWorker):
            for named in self._open(job):
                self._complain(named, f"The worker stopped with {type(error).__name__}: {str(error)[:300]}")
        else:
            self._again(job)
        future.release()

    def _open(self, job: Job) -> list[Named]:
        return [named for named in job if named.run_id not in self.answered]

    def _again(self, job: Job) -> None:
        """Its worker was lost: the run that it was at is asked for again, and what was to follow as well."""
        if not (left := self._open(job)):
            return
        first = left[0]
        self.lost[first.run_id] += first.run_id in self.begun
        if self.lost[first.run_id] > RETRIES:
            reason = f"Its worker was lost {self.lost[first.run_id]} times while it was at this run."
            self._keep(unmeasured(first.ask, reason, machine.describe()), 0.0)
        self.waiting.appendleft(tuple(left))

    def _answer(self, answer: Answer) -> None:
        if answer.run_id in self.answered or answer.run_id not in self.asked:
            return
        if answer.kind == "complaint":
            self._complain(self.asked[answer.run_id], answer.text)
            return
        try:
            record = answer.record
            if record.run_id != answer.run_id:
                raise InputError(f"It is named {record.run_id}.")
        except (InputError, ValueError) as error:
            self._complain(self.asked[answer.run_id], f"Its worker's record cannot be read: {error}")
            return
        self._keep(record, answer.seconds)

    def _keep(self, record: RunRecord, seconds: float) -> None:
        """Write a record at once; what cannot be written is told with it."""
        self.answered.add(record.run_id)
        if record.state == "complete":
            self.baselines[record.run_id] = record
        sentence = ""
        try:
            self.store.put(record)
        except NotKept as error:
            sentence = str(error)
        self.watch.on_record(record, seconds, sentence)

    def _complain(self, named: Named, sentence: str) -> None:
        self.answered.add(named.run_id)
        self.watch.on_complaint(named.spec, sentence)
