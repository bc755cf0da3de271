"""Work that outlives a page: submit, poll, cancel, and find again what is under way. No torch here.

A job is a folder: `request.json` (what to do), `pid`, `progress.jsonl` (one event a line), `stderr.txt`, and at the end
`result.json`. The worker is a process of its own (`tdq_core.jobs.worker`) that holds a lock on `alive` as long as it
lives, so that any process, a restarted server too, can tell a working job from a lost one. Jobs of one folder take
turns, so that they do not fight for the cores; the others are 'queued'.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal, NamedTuple, get_args

import msgspec

from tdq_core.errors import InputError, RunFailed
from tdq_core.records.record import Kept, read_kept
from tdq_core.records.store import runs_folder
from tdq_core.specs import RunSpec
from tdq_core.specs.option import require_choice
from tdq_core.system.files import require_folder, write_atomically

ACTIVE = ("queued", "running")
KEPT = 50
"""Finished jobs that keep their folder; the records that they made are kept forever."""
_PATIENCE_S = 5.0
Kind = Literal["run", "layers", "components", "recipe"]
State = Literal["queued", "running", "done", "failed", "cancelled", "lost"]


class Request(Kept, frozen=True):
    """What a worker is asked to do.

    Attributes:
        kind: 'run' (measure `spec`), 'layers' (read the layer table of its model), 'components' (study its CP) or
            'recipe' (find what meets `target` on its model and images, with `finetune` steps of distillation).
        allowed_models: models that are not registered but may be loaded; the worker refuses all others.
    """

    kind: Kind
    spec: RunSpec
    allowed_models: tuple[str, ...] = ()
    target: str = ""
    finetune: int = 0

    def __post_init__(self) -> None:
        require_choice("kind of job", self.kind, get_args(Kind))

    def to_json(self) -> str:
        plain = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        return json.dumps(plain | {"spec": self.spec.to_dict()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        return read_kept(json.loads(text), cls, "a job's request")


class Made(NamedTuple):
    """What a job has left: a 'run', a 'study' or a 'recipe', and its id."""

    kind: str
    id: str


class Result(Kept, frozen=True):
    """How a job ended.

    Attributes:
        time: when, in seconds since 1970.
        reason: one sentence, where it failed.
        run_id, study_id, recipe_id: what it made, at most one of them.
        reused: it was there already.
    """

    state: State
    time: float = 0.0
    reason: str | None = None
    run_id: str | None = None
    study_id: str | None = None
    recipe_id: str | None = None
    reused: bool = False

    @property
    def made(self) -> Made | None:
        found = {"run": self.run_id, "study": self.study_id, "recipe": self.recipe_id}
        return next((Made(kind, name) for kind, name in found.items() if name), None)


@dataclass(frozen=True)
class Job:
    """A submitted request; its folder's name sorts by the time of submission."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def request(self) -> Request:
        return Request.from_json((self.folder / "request.json").read_text())


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes:
        state: 'lost' where its worker died without a word.
        stage, done, total: the latest progress.
        elapsed: seconds since the work began (0 while queued), until now or until the result.
        reason: one sentence, for 'failed' and 'lost'.
        made: what was measured, studied or found.
        reused: it was there already.
    """

    state: State
    stage: str = ""
    done: int = 0
    total: int = 0
    elapsed: float = 0.0
    reason: str | None = None
    made: Made | None = None
    reused: bool = False

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


def jobs_folder() -> Path:
    return runs_folder() / "jobs"


def submit(request: Request, *, folder: Path | None = None) -> Job:
    """Start a worker for `request` in its own session; it waits for its turn by itself. InputError where jobs cannot be
    written to their folder."""
    folder = folder or jobs_folder()
    require_folder(folder, "The folder of jobs", "start TDQ where it can, or set TDQ_RUNS to a folder that can")
    _prune(folder)
    job = Job(folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}-{secrets.token_hex(3)}")
    (job.folder / "tmp").mkdir(parents=True)
    write_atomically(job.folder / "request.json", request.to_json())
    with (job.folder / "alive").open("w") as alive, (job.folder / "stderr.txt").open("w") as errors:
        fcntl.flock(alive, fcntl.LOCK_EX)  # inherited: the lock lives as long as the worker, whatever happens here
        worker = _start(job, alive, errors)
    write_atomically(job.folder / "pid", str(worker.pid))
    _CHILDREN.append(worker)
    return job


_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Workers that this process started: they are waited for, so that none stays behind as a zombie."""


def _start(job: Job, alive: IO[str], errors: IO[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tdq_core.jobs.worker", str(job.folder.resolve()), str(alive.fileno())]
    environment = os.environ | {"TMPDIR": str((job.folder / "tmp").resolve())}  # cancelling leaves nothing elsewhere
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment,
        start_new_session=True, pass_fds=(alive.fileno(),),
    )  # fmt: skip


def poll(job: Job) -> JobState:
    """How the job stands now.

    Raises:
        RunFailed: its progress file is damaged (a torn last line is not damage: it is still being written).
    """
    _reap()
    alive = _alive(job)  # asked first: a result that appears after this question is found below
    result = _result(job)
    seen = _progress(job, end=result.time if result else time.time())
    if result:
        return replace(seen, state=result.state, reason=result.reason, made=result.made, reused=result.reused)
    return seen if alive else replace(seen, state="lost", reason=_last_words(job))


def _progress(job: Job, *, end: float) -> JobState:
    """What the progress file tells; the first event is written when the job's turn comes."""
    events = read_events(job.folder / "progress.jsonl")
    if not events:
        return JobState("queued")
    last = events[-1]
    return JobState("running", last.stage, last.done, last.total, max(0.0, end - events[0].time))


def cancel(job: Job) -> JobState:
    """End the job's process and all of its children; a job that has ended already is left as it is."""
    while _alive(job) and not (job.folder / "pid").exists():
        time.sleep(0.01)  # it is being submitted at this moment
    if _alive(job):
        _end(job, int((job.folder / "pid").read_text()))
    if _result(job) is None:
        finish(job, Result(state="cancelled"))
    return poll(job)


def _end(job: Job, pid: int) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, kind)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            _reap()
            if not _alive(job):
                return
            time.sleep(0.02)


def running(folder: Path | None = None) -> list[Job]:
    """Every job that is queued or running, oldest first, whoever submitted it."""
    return [job for job in _all(folder or jobs_folder()) if _result(job) is None and poll(job).active]


def finish(job: Job, result: Result) -> None:
    """Write how the job ended, and remove what it left half made."""
    shutil.rmtree(job.folder / "tmp", ignore_errors=True)
    whole = msgspec.structs.replace(result, time=time.time())
    write_atomically(job.folder / "result.json", json.dumps(msgspec.to_builtins(whole)))


class Event(Kept, frozen=True):
    """One line of a progress file; `time` in seconds since 1970."""

    stage: str
    done: int
    total: int
    time: float


def read_events(path: Path) -> list[Event]:
    """The events of a progress file; its last line may be torn, a bad line before it is an error."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                events.append(msgspec.json.decode(line, type=Event))
        except msgspec.DecodeError as error:
            if number < len(lines):
                raise RunFailed(f"The progress file '{path}' is damaged in line {number}: {error}.") from error
    return events


def _alive(job: Job) -> bool:
    """Whether the worker still holds its lock; the system releases it when the process ends, however that happens."""
    try:
        with (job.folder / "alive").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False


def _result(job: Job) -> Result | None:
    path = job.folder / "result.json"
    return read_kept(json.loads(path.read_text()), Result, "a job's result") if path.exists() else None


def _last_words(job: Job) -> str:
    path = job.folder / "stderr.txt"
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    said = f"its last words were '{lines[-1].strip()[:200]}'" if lines else "it said nothing (out of memory, perhaps)"
    return f"The run's process ended without a result: {said}; the details are in '{path}'."


def _all(folder: Path) -> list[Job]:
    return [Job(path.parent) for path in sorted(folder.glob("*/request.json"))]


def _prune(folder: Path) -> None:
    for job in [j for j in _all(folder) if _result(j) is not None][:-KEPT]:
        shutil.rmtree(job.folder, ignore_errors=True)


def _reap() -> None:
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def find(job_id: str, *, folder: Path | None = None) -> Job:
    """The job of this id."""
    for job in _all(folder or jobs_folder()):
        if job.id == job_id:
            return job
    raise InputError(f"No job is called '{job_id}': it may have been cleared away, its record has not.")
