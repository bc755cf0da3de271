"""Which workers will do, how much they are given, and when a cluster counts as lost; on clients that are stand-ins."""

from types import SimpleNamespace
from typing import Any

import pytest

from tdq_core.errors import InputError, NotNow, RunFailed
from tdq_core.sweeps import cluster, sweep
from tdq_core.sweeps.cluster import Local, Remote


def remote(workers: list[dict[str, Any]], **resources: float) -> Remote:
    info = {"workers": dict(enumerate(workers))}
    client = SimpleNamespace(status="running", scheduler_info=lambda n_workers=-1: info)
    return Remote(client, "tcp://there:1", resources, None)


ONE, FOUR = {"nthreads": 1, "resources": {}}, {"nthreads": 4, "resources": {"GPU": 2.0, "DISK": 9.0}}


@pytest.mark.parametrize(
    ("resources", "room"), [({}, 5), ({"GPU": 1}, 2), ({"GPU": 2}, 1), ({"GPU": 0.5}, 4), ({"GPU": 1, "DISK": 9}, 1)]
)
def test_workers_are_given_what_their_threads_and_resources_bear(resources, room):
    there = remote([ONE, FOUR], **resources)
    assert there.look() == (2, room) and there.capacity() == room


def test_a_cluster_without_such_workers_is_told_with_the_way_to_start_one(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.1)
    with pytest.raises(
        InputError, match=r"None of the 2 workers .*GPU=3: start one with `dask worker tcp://there:1 .*GPU=3"
    ):
        remote([ONE, FOUR], GPU=3).require_workers()
    with pytest.raises(InputError, match="has no workers: start them with `dask worker tcp://there:1"):
        remote([]).require_workers()
    remote([ONE]).require_workers()


def test_a_cluster_whose_scheduler_or_whose_workers_are_gone_is_lost(monkeypatch):
    there = remote([])
    monkeypatch.setattr(cluster, "_LOOK_EVERY_S", -1.0)
    there.look_after()  # they may come back
    monkeypatch.setattr(cluster, "WORKERLESS_S", -1.0)
    with pytest.raises(NotNow, match="no worker of the scheduler at 'tcp://there:1'"):
        there.look_after()
    there.client.status = "connecting"
    with pytest.raises(NotNow, match="connection to the scheduler at 'tcp://there:1' is lost"):
        there.look_after()


class Process:
    """A worker's process that has ended, or has not."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code


def test_workers_here_are_started_again_and_given_up_where_none_lives(monkeypatch, tmp_path):
    started: list[list[str]] = []

    def start(command: list[str], **options: Any) -> Process:
        started.append(command)
        assert options["env"]["OMP_NUM_THREADS"] == "1" and options["env"]["OMP_WAIT_POLICY"] == "PASSIVE"
        return Process(None if len(started) < 4 else 1)

    monkeypatch.setattr(cluster.subprocess, "Popen", start)
    here = Local(SimpleNamespace(status="running"), "tcp://127.0.0.1:9", tmp_path, 2, 10**9)
    here.look_after()
    assert len(started) == 2 == here.capacity() and "1.0 GB at most each" in here.described()
    here.processes[1] = Process(-9)
    here.look_after()
    assert len(started) == 3 and len({command[command.index("--name") + 1] for command in started}) == 3
    here.processes[0] = Process(-9)
    (tmp_path / "0.txt").write_text("torn\nno memory\n")
    with pytest.raises(RunFailed, match=r"again and again.*no memory"):
        for _ in range(cluster.RESTARTS + 1):
            here.look_after()


def test_workers_follow_cores_memory_and_tasks(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    monkeypatch.setattr(sweep, "free_memory", lambda: 5 * sweep.LEAST_MEMORY)
    assert [sweep.workers_here(tasks) for tasks in (1, 3, 100)] == [1, 3, 5]
    monkeypatch.setattr(sweep, "free_memory", lambda: 0)
    assert sweep.workers_here(100) == 1
