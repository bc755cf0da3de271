"""Measuring processes and the client of a sweep, with stand-ins for what takes long: what ends a run, what does not."""

import io
import json
import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from distributed import KilledWorker

from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.sweeps.child import Child, Ended
from tdq_core.sweeps.engine import RETRIES, Engine, Limits
from tdq_core.sweeps.measurer import Measurer, _differences
from tdq_core.sweeps.messages import Answer, Order, Step, order_of, packed
from tdq_core.sweeps.opened import Named
from tdq_core.sweeps.planned import estimated, tasks_of
from tdq_core.sweeps.watch import Watch

PROGRAM = """
import json, os, sys, time
held = []
for line in sys.stdin:
    asked = json.loads(line)["asked"]
    if asked == "large":
        held.append(bytearray(400_000_000))
    if asked in ("slow", "large"):
        time.sleep(60)
    if asked.startswith("signal"):
        os.kill(os.getpid(), int(asked.split()[1]))
    if asked == "exit":
        sys.exit(3)
    print(json.dumps({"stage": "at it", "done": 1, "total": 2}), flush=True)
    print(json.dumps({"record": asked, "pid": str(os.getpid()), "threads": os.environ["OMP_NUM_THREADS"]}), flush=True)
"""


@pytest.fixture
def child(tmp_path):
    made = Child(tmp_path / "measuring", ["-c", PROGRAM])
    yield made
    made.give_up()


def ask(child: Child, what: str, **limits: Any) -> dict[str, Any]:
    steps: list[tuple[str, int, int]] = []
    return child.ask({"asked": what}, **{"timeout": None, "memory": None, **limits},
                     on_progress=lambda *step: steps.append(step)) | {"steps": steps}  # fmt: skip


def test_one_process_answers_run_after_run_with_one_thread(child):
    first, second = ask(child, "a"), ask(child, "b")
    assert (first["record"], second["record"], first["threads"]) == ("a", "b", "1")
    assert first["pid"] == second["pid"] and first["steps"] == [("at it", 1, 2)]


@pytest.mark.parametrize(
    ("what", "limits", "told", "again"),
    [
        ("slow", {"timeout": 0.5}, "longer than its 0.5 s", False),
        ("large", {"memory": 200_000_000}, "0.20 GB of a worker", False),
        ("exit", {}, "exit code 3", False),
        (f"signal {signal.SIGSEGV}", {}, "SIGSEGV", False),
        (f"signal {signal.SIGKILL}", {}, "SIGKILL", True),
    ],
)
def test_what_ends_a_process_is_told_and_the_next_run_has_another(child, tmp_path, what, limits, told, again):
    with pytest.raises(Ended, match=told) as caught:
        ask(child, what, **limits)
    assert caught.value.again is again and not (tmp_path / "measuring").exists()
    assert ask(child, "after")["record"] == "after"


def test_a_sweep_that_was_given_up_starts_nothing_more(child):
    child.give_up()
    with pytest.raises(Ended, match="given up"):
        ask(child, "a")


SHIPPED = {
    r.spec: r for r in RunStore(shipped_folder()).all() if r.spec.model.name == "digits_resnet" and not r.spec.latency
}
DENSE = RunSpec.of("digits_resnet", "digits")
SVD = [s for s in SHIPPED if s.method == "svd" and s.rule == RankRule("ratio", 2.0)]


def entry(spec: RunSpec) -> Named:
    record = SHIPPED[spec]
    return Named(spec, record.run_id, dict(record.digests), SHIPPED[DENSE].run_id)


def answers(order: Order) -> list[Answer]:
    by_id = {record.run_id: record for record in SHIPPED.values()}
    return [Answer(asked.run_id, "record", by_id[asked.run_id].to_json(), 1.0) for asked in order.asks]


class FakeFuture:
    """One that has ended already."""

    def __init__(self, work: Callable[[], list[Answer]]) -> None:
        self.error: BaseException | None = None
        try:
            self.text = msgspec.json.encode(work()).decode()
        except Exception as error:
            self.error = error
        self.status = "error" if self.error else "finished"
        self.add_done_callback = lambda call: call(self)
        self.result = lambda timeout: self.text
        self.exception = lambda: self.error
        self.release = lambda: None


class FakeCluster:
    """Answers orders at once: the n-th as `work` says."""

    def __init__(self, work: Callable[[Order, int], list[Answer]]) -> None:
        self.orders: list[Order] = []
        self.client, self.memory = self, 123
        self.subscribe_topic = lambda topic, handler: setattr(self, "tell", handler)
        self.look_after = lambda: None
        self.leave = lambda sweep: None
        self.capacity = lambda: 2
        self.work = work

    def submit(self, function: object, text: str, **options: object) -> FakeFuture:
        order = order_of(text)
        self.orders.append(order)
        self.tell((0.0, packed(Step("w", order.asks[0].run_id, "start", 0, 0))))
        return FakeFuture(lambda: self.work(order, len(self.orders)))


class Heard:
    """All that a sweep tells."""

    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}
        self.complaints: list[str] = []
        self.sentences: list[str] = []

    def watch(self) -> Watch:
        return Watch(on_record=self._record, on_complaint=lambda spec, sentence: self.complaints.append(sentence))

    def _record(self, record: RunRecord, seconds: float, sentence: str) -> None:
        assert record.run_id not in self.records, "each run is told once"
        self.records[record.run_id] = record
        self.sentences += [sentence] * bool(sentence)


def swept(jobs: list[list[RunSpec]], work: Callable[..., list[Answer]], store: RunStore) -> tuple[FakeCluster, Heard]:
    cluster, heard = FakeCluster(work), Heard()
    entries = [tuple(map(entry, job)) for job in jobs]
    Engine(cluster, store, Limits(9.0), heard.watch(), "s").carry_out(entries, {})  # type: ignore[arg-type]
    return cluster, heard


def test_runs_wait_for_the_dense_one_and_are_sent_its_record(tmp_path):
    store = RunStore(tmp_path)
    cluster, heard = swept([SVD, [DENSE]], lambda order, number: answers(order), store)
    assert [len(order.asks) for order in cluster.orders] == [1, len(SVD)]
    assert [len(order.baselines) for order in cluster.orders] == [0, 1]
    assert (cluster.orders[1].timeout, cluster.orders[1].memory) == (9.0, 123)
    assert {r.run_id for r in store.all()} == set(heard.records) and len(heard.records) == 1 + len(SVD)


def killed(order: Order, number: int) -> list[Answer]:
    raise KilledWorker("task", None, 0)


def test_what_a_lost_worker_was_at_is_asked_for_again_and_given_up_in_the_end(tmp_path):
    cluster, heard = swept([[DENSE]], killed, RunStore(tmp_path))
    assert len(cluster.orders) == 1 + RETRIES
    (record,) = heard.records.values()
    assert record.state == "failed" and f"lost {1 + RETRIES} times" in record.reason


def test_what_had_not_begun_when_its_worker_was_lost_is_asked_for_as_often_as_that_happens(tmp_path):
    lost = 3 * (1 + RETRIES)
    cluster = FakeCluster(lambda order, number: killed(order, number) if number <= lost else answers(order))
    cluster.subscribe_topic = lambda topic, handler: setattr(cluster, "tell", lambda event: None)
    heard = Heard()
    Engine(cluster, RunStore(tmp_path), Limits(), heard.watch(), "s").carry_out([(entry(DENSE),)], {})
    assert len(cluster.orders) == lost + 1 and [r.state for r in heard.records.values()] == ["complete"]


def test_no_more_is_sent_than_there_are_workers(tmp_path):
    at_once = []

    def work(order: Order, number: int) -> list[Answer]:
        at_once.append(len(cluster_engine[0].out))
        return answers(order)

    cluster_engine: list[Engine] = []
    cluster = FakeCluster(work)
    cluster_engine.append(Engine(cluster, RunStore(tmp_path), Limits(), Heard().watch(), "s"))
    cluster_engine[0].carry_out([(entry(DENSE),), *((entry(spec),) for spec in SVD)], {})
    assert len(at_once) == 1 + len(SVD) > 3 and max(at_once) == 1  # beside the one that is being sent


def test_only_the_run_that_loses_workers_fails(tmp_path):
    bad = entry(SVD[1]).run_id

    def work(order: Order, number: int) -> list[Answer]:
        return killed(order, number) if order.asks[0].run_id == bad else answers(order)[:1]

    one_by_one = [[DENSE], *([spec] for spec in SVD[:3])]
    _, heard = swept(one_by_one, work, RunStore(tmp_path))
    assert {r.state for name, r in heard.records.items() if name != bad} == {"complete"}
    assert heard.records[bad].state == "failed" and len(heard.records) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "cannot be read"),
        ("no JSON", "cannot be read"),
        (SHIPPED[DENSE].to_json(), "cannot be read: It is named"),
    ],
)
def test_what_a_worker_gives_back_is_read_whole_or_not_at_all(tmp_path, text, told):
    def work(order: Order, number: int) -> list[Answer]:
        return [Answer(asked.run_id, "record", text) for asked in order.asks]

    _, heard = swept([SVD[:2]], work, RunStore(tmp_path))
    assert not heard.records and all(told in sentence for sentence in heard.complaints) and len(heard.complaints) == 2


def test_a_worker_that_stops_otherwise_is_told_and_stops_nobody(tmp_path):
    def work(order: Order, number: int) -> list[Answer]:
        if number == 2:
            raise ZeroDivisionError("here")
        return answers(order)

    _, heard = swept([[DENSE], [SVD[0]], [SVD[1]]], work, RunStore(tmp_path))
    assert len(heard.records) == 2 and heard.complaints == ["The worker stopped with ZeroDivisionError: here"]


def test_a_record_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    _, heard = swept([[DENSE]], lambda order, number: answers(order), RunStore(tmp_path / "file"))
    assert len(heard.records) == 1 and "could not be kept" in heard.sentences[0]


def test_another_content_under_the_same_name_is_refused_in_one_sentence():
    told = _differences({"model": "a" * 64, "data": "b" * 64}, {"model": "a" * 64, "data": "c" * 64})
    assert "images cccccccccccc instead of bbbbbbbbbbbb" in told and "weights" not in told and "\n" not in told
    assert _differences({"model": "a"}, {"model": "a"}) == ""


def test_a_measurer_compares_what_it_finds_with_what_is_asked_for(tmp_path):
    asked = entry(DENSE)
    measurer = Measurer(io.StringIO(), tmp_path)
    request = {"sweep": "s", **msgspec.to_builtins(asked.ask), "baselines": [SHIPPED[DENSE].to_json()]}
    assert json.loads(measurer.measure(request)["record"]) == json.loads(SHIPPED[DENSE].to_json())  # it was sent along
    other = request | {"digests": {**asked.digests, "model": "0" * 64}}
    assert measurer.measure(other)["complaint"].startswith("This worker finds other contents")
    assert "other version" in measurer.measure(request | {"run_id": "0" * 16})["complaint"]
    assert "Images come from" in measurer.measure(request | {"spec": {**request["spec"], "data": "x"}})["complaint"]


def test_runs_that_share_factors_are_one_task_and_others_are_not():
    tucker = DENSE.changed(method="tucker2", rule=RankRule("ratio", 2.0))
    fitted = [tucker.changed(calibrated=True, calib_samples=n) for n in (64, 128)]
    same = [tucker.changed(precision=p, samples=n) for p in ("w8", "fp32") for n in (10, None)]
    tasks = tasks_of([*same, *fitted, tucker.changed(seed=1), DENSE.changed(precision="w8"), DENSE])
    assert sorted(map(len, tasks)) == [1, 1, 1, 2, 4]
    assert tasks[-1] == (DENSE, DENSE.changed(precision="w8"))
    assert [s.precision.name for s in tasks[0]] == ["fp32", "fp32", "w8", "w8"]


def test_time_is_judged_by_runs_that_are_alike():
    records = list(SHIPPED.values())
    once, more = (estimated(tasks_of(specs), records) for specs in (SVD[:1], SVD))
    assert 0 < once.seconds < more.seconds and once.unknown == more.unknown == 0 < once.bytes < more.bytes
    unlike = estimated(tasks_of([DENSE.changed(precision="w4")]), records)
    assert unlike.unknown == 1 and estimated([], []).bytes == 0
