"""The process that carries out one job, `python -m tdq_core.jobs.worker FOLDER FD`; `jobs.queue` starts it.

torch is imported when it is the job's turn, so that a queued job costs next to nothing.
"""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from tdq_core.errors import InputError, TDQError
from tdq_core.jobs.folder import Job, Request, Result
from tdq_core.jobs.queue import finish
from tdq_core.models.layer_files import write_layer_file
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.system.locks import locked
from tdq_core.system.progress import Progress
from tdq_core.system.signals import unwinding

_EVENT_EVERY_S = 0.1
BEHIND_PAGES = 10
"""Niceness of a job: whoever looks at a page does not wait for it."""


class Journal:
    """Appends progress to a file, at most ten events a second; a stage's first and last event are always written."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.stage, self.written = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.time()
        if stage == self.stage and done < total and now - self.written < _EVENT_EVERY_S:
            return
        self.stage, self.written = stage, now
        with contextlib.suppress(OSError):  # a full disk: the work goes on
            self.file.write(json.dumps({"stage": stage, "done": done, "total": total, "time": now}) + "\n")
            self.file.flush()


def _run(request: Request, on_progress: Progress) -> Result:
    from tdq_core.api.runs import run

    outcome = run(request.spec, on_progress=on_progress, allowed_models=request.allowed_models)
    if outcome.not_kept:
        return Result(state="failed", reason=outcome.not_kept[0])
    return Result(state="done", run_id=outcome.record.run_id, reused=outcome.reused)


def _layers(request: Request, on_progress: Progress) -> Result:
    from tdq_core.pipeline.run import read_table

    table = read_table(request.spec, on_progress=on_progress, allowed_models=request.allowed_models)
    write_layer_file(table, request.spec)
    return Result(state="done")


def _components(request: Request, on_progress: Progress) -> Result:
    from tdq_core.analysis.component_study import study

    studied = study(request.spec, on_progress=on_progress, allowed_models=request.allowed_models)
    return Result(state="done", study_id=studied.components.study_id, reused=studied.reused)


def _recipe(request: Request, on_progress: Progress) -> Result:
    from tdq_core.recipes.search import find_recipe
    from tdq_core.recipes.target import call_of, parse_target

    target = parse_target(request.target)
    report = find_recipe(
        request.spec,
        target,
        finetune=request.finetune,
        call=call_of(target, least=request.least or None),
        on_progress=on_progress,
        allowed_models=request.allowed_models,
    )
    return Result(state="done", recipe_id=report.recipe_id)


def _sensitivity(request: Request, on_progress: Progress) -> Result:
    from tdq_core.analysis.layer_changes import measure

    measured = measure(request.spec, on_progress=on_progress, allowed_models=request.allowed_models)
    return Result(state="done", reused=measured.reused)


def _layer_times(request: Request, on_progress: Progress) -> Result:
    from tdq_core.pipeline.layer_times import measure

    rule = request.spec.rule
    batch, threads = (rule.batch, rule.threads) if rule else (1, 1)
    measured = measure(
        request.spec, batch=batch, threads=threads, on_progress=on_progress, allowed_models=request.allowed_models
    )
    return Result(state="done", reused=measured.reused)


def _sweep(request: Request, on_progress: Progress) -> Result:
    from tdq_core.api.sweeps import sweep
    from tdq_core.jobs.swept import Count

    count = Count(on_progress)
    swept = sweep(request.sweep, watch=count.watch, on_progress=on_progress, allowed_models=request.allowed_models)
    return count.result(list(swept), swept.complaints)


def _recorded(request: Request) -> RunRecord:
    record = RunStore().get(request.run_id)
    if record is None:
        raise InputError(f"The run '{request.run_id}' is not there any more: measure it again.")
    return record


def _bench(request: Request, on_progress: Progress) -> Result:
    from tdq_core.pipeline.bench import bench, keep
    from tdq_core.pipeline.speed.races import Settings

    record = _recorded(request)
    timed = bench(record, request.spec, Settings(), allowed_models=request.allowed_models, on_progress=on_progress)
    keep(timed)
    return Result(state="done")


def _export(request: Request, on_progress: Progress) -> Result:
    from tdq_core.pipeline.exports.export import export_run
    from tdq_core.pipeline.exports.told import export_folder

    record, folder = _recorded(request), export_folder(request.run_id, request.format)
    export_run(
        record, request.spec, request.format, folder, on_progress=on_progress, allowed_models=request.allowed_models
    )
    return Result(state="done")


_WORK: Mapping[str, Callable[[Request, Progress], Result]] = {
    "run": _run,
    "layers": _layers,
    "components": _components,
    "recipe": _recipe,
    "sensitivity": _sensitivity,
    "export": _export,
    "bench": _bench,
    "sweep": _sweep,
    "layer_times": _layer_times,
}


def work(job: Job) -> None:
    """Wait for this job's turn, carry it out, and write how it ended."""
    turn = os.open(job.folder.parent / "turn", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
    with os.fdopen(turn, "rb", buffering=0), (job.folder / "progress.jsonl").open("a") as file:
        locked(turn, wait=True)
        journal = Journal(file)
        journal("start", 0, 0)
        try:
            request = job.request
            result = _WORK[request.kind](request, journal)
        except TDQError as error:
            result = Result(state="failed", reason=str(error))
        except Exception as error:
            traceback.print_exc()
            reason = f"The run stopped unexpectedly: {type(error).__name__}: {error}"
            details = job.folder / "stderr.txt"
            result = Result(state="failed", reason=f"{reason}; the details are in '{details}'.")
        finish(job, result)


def main(folder: Path, alive: int) -> None:
    """Carry out the job in `folder`; `alive` is the inherited descriptor whose lock says that we live."""
    os.set_inheritable(alive, False)  # our children must not keep the lock after our end
    os.nice(BEHIND_PAGES)
    with unwinding():
        work(Job(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
