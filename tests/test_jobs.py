"""Jobs: states, turns, cancelling, lost workers, and what a worker refuses to load."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tdq_core.errors import InputError, RunFailed
from tdq_core.jobs import queue as jobs
from tdq_core.jobs import worker as job_worker
from tdq_core.jobs.queue import Event, Job, JobState, Made, Request, Result
from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import find_layer_file
from tdq_core.recipes import search
from tdq_core.recipes.target import Target
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec

SPEC = RunSpec.of("digits_resnet", "digits", method="svd", rule=RankRule("ratio", 2.0), samples=50)


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("tdq_core.records.store.PROJECT", tmp_path)
    return tmp_path / "runs"


@contextmanager
def somebody_elses_turn() -> Iterator[None]:
    """Hold the turn, so that submitted jobs wait without importing torch."""
    jobs.jobs_folder().mkdir(parents=True, exist_ok=True)
    with (jobs.jobs_folder() / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def wait(job: Job, until: Callable[[JobState], bool] = lambda s: not s.active, seconds: float = 120) -> JobState:
    deadline = time.monotonic() + seconds
    while not until(state := jobs.poll(job)):
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.05)
    return state


def gone(pid: int) -> bool:
    """No such process, or only its zombie."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def span(job: Job) -> tuple[float, float]:
    """When its work began and when it ended."""
    begun = jobs.read_events(job.folder / "progress.jsonl")[0].time
    return begun, json.loads((job.folder / "result.json").read_text())["time"]


def test_jobs_take_turns_and_the_same_run_again_reuses_the_record(runs: Path) -> None:
    first, second = jobs.submit(Request(kind="run", spec=SPEC)), jobs.submit(Request(kind="run", spec=SPEC))
    assert [j.id for j in jobs.running()] == [first.id, second.id]
    states = wait(first), wait(second)
    assert [s.state for s in states] == ["done", "done"]
    assert sorted(s.reused for s in states) == [False, True]
    record = RunStore().get(states[0].made.id)
    assert record and record.state == "complete" and record.spec == SPEC
    assert states[0].stage and states[0].elapsed > 0
    assert jobs.running() == []
    assert not (first.folder / "tmp").exists()
    earlier, later = sorted((span(first), span(second)))
    assert earlier[1] <= later[0]


def test_layers_are_written_where_they_are_looked_for() -> None:
    assert find_layer_file(SPEC) is None
    assert wait(jobs.submit(Request(kind="layers", spec=SPEC))).state == "done"
    path = find_layer_file(SPEC)
    assert path and "stem.0" in [la.name for la in LayerTable.read(path).layers]


def test_a_model_that_nobody_named_is_refused_before_its_code_is_imported(tmp_path: Path, runs: Path) -> None:
    marker = tmp_path / "imported"
    code = tmp_path / "mine.py"
    code.write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\nfrom torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))\n"
    )
    spec = RunSpec.of(f"{code}:make", "digits", mean=(0.3,), std=(0.4,), input_size=(8, 8), samples=20)
    refused = wait(jobs.submit(Request(kind="run", spec=spec)))
    assert refused.state == "failed" and "neither registered nor named when the server started" in str(refused.reason)
    assert not marker.exists() and not list(runs.glob("*.json"))
    allowed = wait(jobs.submit(Request(kind="run", spec=spec, allowed_models=(spec.model.name,))))
    assert allowed.state == "done" and marker.exists(), allowed.reason


def test_a_queued_job_is_cancelled_and_leaves_nothing(runs: Path) -> None:
    with somebody_elses_turn():
        job = jobs.submit(Request(kind="run", spec=SPEC))
        assert jobs.poll(job).state == "queued"
        assert jobs.cancel(job).state == "cancelled"
        assert gone(int((job.folder / "pid").read_text()))
    assert jobs.poll(job).state == "cancelled" and jobs.running() == []
    assert [p.name for p in runs.iterdir()] == ["jobs"]


def test_a_running_job_is_cancelled_and_leaves_no_record(runs: Path) -> None:
    job = jobs.submit(Request(kind="run", spec=SPEC))
    wait(job, lambda s: s.state == "running")
    assert jobs.cancel(job).state == "cancelled"
    assert gone(int((job.folder / "pid").read_text()))
    assert not list(runs.glob("*.json"))


def test_cancelling_a_finished_job_changes_nothing() -> None:
    job = Job(jobs.jobs_folder() / "one")
    job.folder.mkdir(parents=True)
    jobs.finish(job, Result(state="done", run_id="ab", reused=True))
    assert jobs.cancel(job) == JobState("done", made=Made("run", "ab"), reused=True)


def test_a_worker_that_dies_without_a_result_is_lost() -> None:
    with somebody_elses_turn():
        job = jobs.submit(Request(kind="run", spec=SPEC))
        (job.folder / "stderr.txt").write_text("first\nno memory left\n")
        os.kill(int((job.folder / "pid").read_text()), signal.SIGKILL)
        state = wait(job)
    assert state.state == "lost" and "'no memory left'" in str(state.reason) and "stderr.txt" in str(state.reason)
    assert jobs.running() == []


def test_what_nobody_expected_is_one_sentence_with_the_file_of_its_traceback() -> None:
    with somebody_elses_turn():
        job = jobs.submit(Request(kind="run", spec=SPEC))
        (job.folder / "request.json").write_text('{"kind": "run"')
    state = wait(job)
    assert state.state == "failed"
    assert str(state.reason).startswith("The run stopped unexpectedly: JSONDecodeError")
    assert "Traceback" in (job.folder / "stderr.txt").read_text()


def test_a_torn_last_line_is_tolerated_and_a_bad_line_before_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    good = '{"stage": "evaluate", "done": 1, "total": 2, "time": 5.0}'
    assert jobs.read_events(path) == []
    path.write_text(f"{good}\n{good[:20]}")
    assert jobs.read_events(path) == [Event(stage="evaluate", done=1, total=2, time=5.0)]
    path.write_text(f"{good}\n{good[:20]}\n{good}\n")
    with pytest.raises(RunFailed, match="damaged in line 2"):
        jobs.read_events(path)


def test_a_request_survives_its_file_and_an_unknown_kind_is_refused() -> None:
    request = Request(kind="recipe", spec=SPEC, allowed_models=("a.py:b",), target="drop<=1%", finetune=50)
    assert Request.from_json(request.to_json()) == request
    with pytest.raises(InputError, match="kind of job"):
        Request(kind="delete", spec=SPEC)


def test_only_the_latest_finished_jobs_keep_their_folder() -> None:
    for number in range(jobs.KEPT + 3):
        job = Job(jobs.jobs_folder() / f"{number:03d}")
        job.folder.mkdir(parents=True)
        (job.folder / "request.json").write_text("{}")
        jobs.finish(job, Result(state="cancelled"))
    with somebody_elses_turn():
        jobs.cancel(jobs.submit(Request(kind="run", spec=SPEC)))
    left = sorted(p.parent.name for p in jobs.jobs_folder().glob("*/request.json"))
    assert left[0] == "003" and len(left) == jobs.KEPT + 1


def test_a_recipe_is_asked_for_as_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def find(spec: RunSpec, target: Target, **rest: object) -> SimpleNamespace:
        asked.extend((spec, target, rest["finetune"], rest["allowed_models"]))
        return SimpleNamespace(recipe_id="ab")

    monkeypatch.setattr(search, "find_recipe", find)
    request = Request(kind="recipe", spec=SPEC, allowed_models=("a.py:b",), target="drop<=1%", finetune=50)
    assert job_worker._WORK["recipe"](request, lambda *_: None) == Result(state="done", recipe_id="ab")
    assert asked == [SPEC, Target("drop", 0.01), 50, ("a.py:b",)]
