"""Work that outlives a page: submit, poll, cancel, and find again what is under way. No torch here.

A job is a folder: `request.json` (what to do), `pid`, `progress.jsonl` (one event a line), `stderr.txt`, and at the end
`result.json`, see `tdq_core.jobs.folder`. The worker is a process of its own (`tdq_core.jobs.worker`) that holds a lock
on `alive` as long as it lives, so that any process, a restarted server too, can tell a working job from a lost one.
Jobs of one folder take turns, so that they do not fight for the cores; the others are 'queued', and only so many.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import msgspec

from tdq_core.errors import InputError, NotNow
from tdq_core.jobs.folder import Job, Made, Request, Result, State, read_progress
from tdq_core.records.store import runs_folder
from tdq_core.system.files import require_folder, write_atomically
from tdq_core.system.locks import alone, locked
from tdq_core.system.reading import Damaged, read_bytes

ACTIVE = ("queued", "running")
KEPT = 50
"""Ended jobs that keep their folder; the records that they made are kept forever."""
MOST_ACTIVE = 8
"""Jobs that may be queued or at work at once: each is a process."""
_PATIENCE_S = 5.0
_SUBMITTING = ".submitting.lock"
_NAME = re.compile(r"\d{8}T\d{6}-\d{9}-[0-9a-f]{6}")
_HIDDEN = re.compile(rf"\.{_NAME.pattern}")


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes:
        state: 'lost' where its worker died without a word, or what it said cannot be read.
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
    """Start a worker for `request` in its own session; it waits for its turn by itself. Where the same request is
    queued or at work already, it is that job.

    Raises:
        InputError: jobs cannot be written to their folder.
        NotNow: too many are queued.
    """
    folder = folder or jobs_folder()
    require_folder(folder, "The folder of jobs", "start TDQ where it can, or set TDQ_RUNS to a folder that can")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / _SUBMITTING):  # so that two visitors do not both find the last free place
            _prune(folder)
            return _known(folder, request) or _begun(folder, request)
    except OSError as error:
        raise NotNow(f"The job cannot be started in '{folder}': {error.strerror or error}.") from error


def _known(folder: Path, request: Request) -> Job | None:
    """The job that is at work on the same; None where there is none, and there may be one more."""
    active = running(folder)
    for job in active:
        with contextlib.suppress(InputError):
            if job.request == request:
                return job
    if len(active) >= MOST_ACTIVE:
        raise NotNow(
            f"{len(active)} runs are queued or at work, and no more than {MOST_ACTIVE} may be: try again when one has "
            "ended, or cancel one."
        )
    return None


def _begun(folder: Path, request: Request) -> Job:
    """Made under a hidden name, which it loses when it holds its lock: nobody takes it for lost meanwhile."""
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}-{secrets.token_hex(3)}"
    hidden, job = Job(folder / f".{name}"), Job(folder / name)
    (hidden.folder / "tmp").mkdir(parents=True)
    with (hidden.folder / "alive").open("w") as alive, (hidden.folder / "stderr.txt").open("w") as errors:
        locked(alive.fileno())  # inherited: the lock lives as long as the worker, whatever happens here
        write_atomically(hidden.folder / "request.json", request.to_json())
        hidden.folder.rename(job.folder)
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
    """How the job stands now. A lost one is told to have ended so, and what it left half made is removed."""
    _reap()
    if not job.folder.is_dir():
        return JobState("lost", reason=f"The job '{job.id}' has been cleared away.")
    alive = job.is_alive()  # asked first: a result that appears after this question is found below
    try:
        result = job.result()
    except Damaged as error:
        return JobState("lost", reason=f"How the run ended is not known: {error}.")
    if result is None and not alive:
        result = Result(state="lost", time=time.time(), reason=_lost(job))
        with contextlib.suppress(NotNow):  # whoever may write here says so another time
            finish(job, result)
    progress = read_progress(job.folder / "progress.jsonl")
    end = result.time if result else time.time()
    seen = JobState("queued")
    if progress:
        last = progress.latest
        seen = JobState("running", last.stage, last.done, last.total, max(0.0, end - progress.begun))
    if result is None:
        return seen
    return replace(seen, state=result.state, reason=result.reason, made=result.made, reused=result.reused)


def cancel(job: Job) -> JobState:
    """End the job's process and all of its children; a job that has ended already is left as it is.

    Raises:
        NotNow: it lives, and which process it is cannot be told.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while job.is_alive() and not _workers_pid(job):
        if time.monotonic() > deadline:
            raise NotNow(f"The run cannot be cancelled: '{job.folder / 'pid'}' does not name its process.")
        time.sleep(0.01)  # it is being submitted at this moment
    if job.is_alive() and (pid := _workers_pid(job)):
        _end(job, pid)
    with contextlib.suppress(Damaged):
        if job.result() is None:
            finish(job, Result(state="cancelled"))
    return poll(job)


def _workers_pid(job: Job) -> int | None:
    """The worker's, where a process of that number is at work on this job, as far as the system tells."""
    pid = job.pid()
    if pid is None or not Path("/proc/self/cmdline").exists():
        return pid
    with contextlib.suppress(OSError, Damaged):
        return pid if job.id.encode() in read_bytes(Path(f"/proc/{pid}/cmdline")) else None
    return None


def _end(job: Job, pid: int) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, kind)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            _reap()
            if not job.is_alive():
                return
            time.sleep(0.02)


def running(folder: Path | None = None) -> list[Job]:
    """Every job that is queued or running, oldest first, whoever submitted it."""
    return [job for job in _all(folder or jobs_folder()) if not _has_ended(job) and poll(job).active]


def _has_ended(job: Job) -> bool:
    return os.path.lexists(job.folder / "result.json") and not job.is_alive()


def finish(job: Job, result: Result) -> None:
    """Write how the job ended, and remove what it left half made.

    Raises:
        NotNow: it cannot be written.
    """
    shutil.rmtree(job.folder / "tmp", ignore_errors=True)
    whole = msgspec.structs.replace(result, time=time.time())
    write_atomically(job.folder / "result.json", json.dumps(msgspec.to_builtins(whole)))


def _lost(job: Job) -> str:
    words = job.last_words()
    said = f"its last words were '{words}'" if words else "it said nothing (out of memory, perhaps)"
    return f"The run's process ended without a result: {said}; the details are in '{job.folder / 'stderr.txt'}'."


def _all(folder: Path, names: re.Pattern[str] = _NAME) -> Iterator[Job]:
    """Every job in the folder, oldest first; what is named otherwise is nobody's business here."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if names.fullmatch(entry.name) and entry.is_dir())
        yield from (Job(folder / name) for name in found)


def _prune(folder: Path) -> None:
    """Remove the folders of jobs that ended, but for the latest ones, and those that were never begun."""
    ended = [job for job in _all(folder) if not job.is_alive()]
    for job in (*ended[: len(ended) - min(KEPT, len(ended))], *_all(folder, _HIDDEN)):
        shutil.rmtree(job.folder, ignore_errors=True)


def _reap() -> None:
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def find(job_id: str, *, folder: Path | None = None) -> Job:
    """The job of this id."""
    for job in _all(folder or jobs_folder()):
        if job.id == job_id:
            return job
    raise InputError(f"No job is called '{job_id}': it may have been cleared away, its record has not.")
