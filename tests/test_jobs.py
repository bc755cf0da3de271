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

from tdq_core.errors import InputError, NotNow
from tdq_core.jobs import folder
from tdq_core.jobs import queue as jobs
from tdq_core.jobs import worker as job_worker
from tdq_core.jobs.folder import Event, Job, Made, Request, Result, read_progress
from tdq_core.jobs.queue import JobState
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
    progress = read_progress(job.folder / "progress.jsonl")
    assert progress
    return progress.begun, json.loads((job.folder / "result.json").read_text())["time"]


def test_jobs_take_turns_and_the_same_run_again_reuses_the_record(runs: Path) -> None:
    first, second = (jobs.submit(Request(kind="run", spec=SPEC, allowed_models=more)) for more in ((), ("a.py:b",)))
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


def test_a_request_that_cannot_be_read_is_one_sentence() -> None:
    with somebody_elses_turn():
        job = jobs.submit(Request(kind="run", spec=SPEC))
        (job.folder / "request.json").write_text('{"kind": "run"')
    state = wait(job)
    assert state.state == "failed" and "request.json', cannot be read" in str(state.reason)


def test_what_nobody_expected_is_one_sentence_with_the_file_of_its_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = Job(tmp_path / "one")
    job.folder.mkdir()
    (job.folder / "request.json").write_text(Request(kind="run", spec=SPEC).to_json())
    monkeypatch.setitem(job_worker._WORK, "run", lambda *_: 1 / 0)
    job_worker.work(job)
    result = job.result()
    assert result and result.state == "failed" and "stderr.txt" in str(result.reason)
    assert str(result.reason).startswith("The run stopped unexpectedly: ZeroDivisionError")


def test_progress_is_read_at_its_ends_whatever_lies_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.jsonl"
    good = '{"stage": "evaluate", "done": %d, "total": 9, "time": 5.0}'
    assert read_progress(path) is None
    path.write_text("\n".join((good % 0, "{torn", "[" * 9999, good % 1, (good % 2)[:20])))
    assert read_progress(path) == (5.0, Event(stage="evaluate", done=1, total=9, time=5.0))
    for damaged in (
        b"",
        b"\xff" * 99,
        b"{}\n[]\n1\n",
        (good % -1).encode(),
        (good % 1).replace("5.0", "1e99").encode(),
    ):
        path.write_bytes(damaged)
        assert read_progress(path) is None
    path.write_text(good % 0 + "\n" + "[" * 100_000)
    assert read_progress(path) == (5.0, Event(stage="evaluate", done=0, total=9, time=5.0)), "better than nothing"
    path.write_text("".join(good % n + "\n" for n in range(100_000)))
    seen: list[int] = []
    original = folder._event
    monkeypatch.setattr(folder, "_event", lambda line: seen.append(len(line)) or original(line))
    progress = read_progress(path)
    assert progress and progress.latest.done == 99_999 and sum(seen) < 1000, "not the whole file at each poll"


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_text(""),
    "torn": lambda p: p.write_text('{"sta'),
    "foreign": lambda p: p.write_text("{}"),
    "a list": lambda p: p.write_text("[1]"),
    "binary": lambda p: p.write_bytes(bytes(range(256))),
    "deep": lambda p: p.write_text("[" * 100_000),
    "long": lambda p: p.write_text("9" * 5000),
    "not a number": lambda p: p.write_text('{"state": "done", "time": NaN}'),
    "a folder": lambda p: p.mkdir(),
    "a pipe": lambda p: os.mkfifo(p),
    "a link to nothing": lambda p: p.symlink_to("nowhere"),
    "an endless link": lambda p: p.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", ["request.json", "progress.jsonl", "result.json", "stderr.txt", "pid", "alive"])
def test_a_damaged_folder_is_a_lost_job_and_harms_no_other(name: str) -> None:
    for number, (what, spoil) in enumerate(SPOILT.items()):
        job = Job(jobs.jobs_folder() / f"20260101T000000-{number:09d}-abcdef")
        (job.folder / "tmp").mkdir(parents=True)
        (job.folder / "request.json").write_text(Request(kind="run", spec=SPEC).to_json())
        (job.folder / name).unlink(missing_ok=True)
        spoil(job.folder / name)
        state = jobs.poll(job)
        assert state.state == "lost" and state.reason, (name, what)
        assert jobs.cancel(job).state == "lost" and jobs.poll(job).reason == state.reason, (name, what)
    assert jobs.running() == []
    with somebody_elses_turn():
        other = jobs.submit(Request(kind="run", spec=SPEC))
        assert [j.id for j in jobs.running()] == [other.id]
        jobs.cancel(other)


def test_a_lost_job_ends_as_lost_and_leaves_nothing_half_made() -> None:
    with somebody_elses_turn():
        job = jobs.submit(Request(kind="run", spec=SPEC))
        pid = job.pid()
        assert pid
        (job.folder / "tmp" / "half").write_text("made")
        os.kill(pid, signal.SIGKILL)
        assert wait(job).state == "lost"
    result = job.result()
    assert result and result.state == "lost" and not (job.folder / "tmp").exists()


def test_the_queue_has_an_end_and_knows_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_ACTIVE", 2)
    with somebody_elses_turn():
        first = jobs.submit(Request(kind="run", spec=SPEC))
        assert jobs.submit(Request(kind="run", spec=SPEC)) == first
        jobs.submit(Request(kind="layers", spec=SPEC))
        with pytest.raises(NotNow, match="2 runs are queued or at work, and no more than 2 may be"):
            jobs.submit(Request(kind="components", spec=SPEC))
        assert jobs.submit(Request(kind="run", spec=SPEC)) == first, "it waits already"
        jobs.cancel(first)
        assert jobs.submit(Request(kind="run", spec=SPEC)) != first
        for job in jobs.running():
            jobs.cancel(job)


def test_no_other_process_is_ended_for_a_job(tmp_path: Path) -> None:
    """Whatever number its folder names."""
    job = Job(jobs.jobs_folder() / "20260101T000000-000000001-abcdef")
    job.folder.mkdir(parents=True)
    for number in ("1", "0", "-1", str(os.getpid()), "9" * 30):
        (job.folder / "pid").write_text(number)
        assert jobs._workers_pid(job) is None


def test_a_request_survives_its_file_and_an_unknown_kind_is_refused() -> None:
    request = Request(kind="recipe", spec=SPEC, allowed_models=("a.py:b",), target="drop<=1%", finetune=50)
    assert Request.from_json(request.to_json()) == request
    with pytest.raises(InputError, match="kind of job"):
        Request(kind="delete", spec=SPEC)


def test_only_the_latest_finished_jobs_keep_their_folder() -> None:
    for number in range(jobs.KEPT + 3):
        job = Job(jobs.jobs_folder() / f"20260101T000000-{number:09d}-abcdef")
        job.folder.mkdir(parents=True)
        (job.folder / "request.json").write_text("{}")
        jobs.finish(job, Result(state="cancelled"))
    with somebody_elses_turn():
        jobs.cancel(jobs.submit(Request(kind="run", spec=SPEC)))
    left = sorted(p.parent.name for p in jobs.jobs_folder().glob("*/request.json"))
    assert left[0] == "20260101T000000-000000003-abcdef" and len(left) == jobs.KEPT + 1


def test_a_recipe_is_asked_for_as_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def find(spec: RunSpec, target: Target, **rest: object) -> SimpleNamespace:
        asked.extend((spec, target, rest["finetune"], rest["allowed_models"]))
        return SimpleNamespace(recipe_id="ab")

    monkeypatch.setattr(search, "find_recipe", find)
    request = Request(kind="recipe", spec=SPEC, allowed_models=("a.py:b",), target="drop<=1%", finetune=50)
    assert job_worker._WORK["recipe"](request, lambda *_: None) == Result(state="done", recipe_id="ab")
    assert asked == [SPEC, Target("drop", 0.01), 50, ("a.py:b",)]
