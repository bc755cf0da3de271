"""`tdq sweep`: many measured points, from one file."""

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag, LogFlag
from tdq_core.cli.sweep_live import live, minutes
from tdq_core.cli.terminal import complain, percent, say, say_json, say_table, tell
from tdq_core.errors import InputError, NotNow
from tdq_core.records.logs import Keep, logging_to
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.records.table import method_text, ranks_text
from tdq_core.sweeps.grid import Grid, grid_of
from tdq_core.sweeps.planned import Forecast, forecast
from tdq_core.sweeps.spec import read_sweep
from tdq_core.sweeps.sweep import Machines, Swept, carry_out, workers_here
from tdq_core.sweeps.watch import Watch
from tdq_core.system.extras import require_extra
from tdq_core.system.files import user_path


def sweep(
    spec: Annotated[Path, typer.Argument(help="The TOML file: options of `tdq run`, a list for each axis.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be measured, and measure nothing.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Workers on this machine; as many as suit it.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="A Dask cluster that is there: tcp://HOST:PORT.")] = None,
    resources: Annotated[str | None, typer.Option(help="What its workers must have, as GPU=1 or GPU=1,DISK=2.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that each run may take; any.")] = None,
    memory: Annotated[float | None, typer.Option(help="GB that each worker may take; a share of what is free.")] = None,
    log: LogFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure every point of a grid that is not measured yet; the same command goes on where it was stopped."""
    require_extra("sweep")
    grid = grid_of(read_sweep(user_path(spec)))
    limit = None if memory is None else int(memory * 1e9)
    machines = Machines(workers, scheduler, _resources(resources), timeout, limit)
    planned = forecast(grid, RunStore().found().values)
    if dry_run:
        _print_plan(grid, planned, machines, as_json=as_json)
        return
    with logging_to(log or []) as keep:
        swept = _carried_out(grid, planned, machines, keep)
        not_logged = keep(swept.records)  # what was measured before, and what a log could not be told as it came
    _print(grid, swept, as_json=as_json)
    for sentence in (*swept.complaints, *swept.not_kept, *not_logged):
        complain(sentence)
    if not swept.complete or not_logged:
        raise typer.Exit(1)


def _carried_out(grid: Grid, planned: Forecast, machines: Machines, keep: Keep) -> Swept:
    done = [planned.measured]
    try:
        with live(done, grid.specs) as screen:
            return carry_out(grid, machines=machines, watch=_logged(screen.watch, keep), on_progress=screen.on_progress)
    except (KeyboardInterrupt, SystemExit) as stop:
        _tell_rest(grid, done[0])
        code = stop.code if isinstance(stop, SystemExit) else 128 + signal.SIGINT
        raise typer.Exit(code if isinstance(code, int) else 1) from stop
    except NotNow:
        _tell_rest(grid, done[0])
        raise


def _logged(watch: Watch, keep: Keep) -> Watch:
    """The logs are told of every record as it comes: whatever stops the sweep, they know what was done. After one of
    them has failed they are told at the end, so that no run waits again for a server that is gone."""
    failed: list[str] = []

    def on_record(record: RunRecord, seconds: float, not_kept: str) -> None:
        watch.on_record(record, seconds, not_kept)
        if not failed:
            failed.extend(keep([record]))

    return replace(watch, on_record=on_record)


def _tell_rest(grid: Grid, done: int) -> None:
    tell(
        f"Stopped: {done} of {len(grid.specs)} runs are measured and kept. The same command goes on from there: it "
        "repeats only what was being measured at this moment."
    )


def _resources(text: str | None) -> Mapping[str, float]:
    """'GPU=1,DISK=2' by name."""
    found = {}
    for part in (text or "").split(",") if text is not None else []:
        name, _, amount = part.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            name = ""
        if not name.strip():
            raise InputError(f"The '--resources' must be NAME=AMOUNT with commas between, as GPU=1. Got '{text}'.")
    return found


def _print_plan(grid: Grid, planned: Forecast, machines: Machines, *, as_json: bool) -> None:
    runs, tasks, estimate = sum(map(len, planned.tasks)), len(planned.tasks), planned.estimate
    workers = None if machines.scheduler else machines.workers or workers_here(tasks)
    seconds = estimate.seconds / min(workers or 1, max(1, tasks))
    if as_json:
        say_json({
            "runs": len(grid.specs), "measured": planned.measured, "to_measure": runs, "tasks": tasks,
            "repeated": grid.repeated, "left_out": dict(grid.left_out), "workers": workers, "seconds": seconds,
            "unlike_any": estimate.unknown, "bytes": estimate.bytes,
            "specs": [spec.to_dict() for spec in grid.specs],
        })  # fmt: skip
        return
    say(f"{len(grid.specs)} runs: {planned.measured} are measured already, by their options.")
    dense = runs - (len(grid.specs) - planned.measured)
    more = f", {dense} of them dense models to compare with" if dense else ""
    say(f"To measure: {runs}{more}, in {tasks} tasks of runs that share their factors.")
    _print_left_out(grid)
    guess = f"about {minutes(seconds)} on {workers or 'one'} worker{'s' * ((workers or 1) > 1)}"
    doubt = f"; {estimate.unknown} runs are like none that was measured, and not counted" if estimate.unknown else ""
    if runs:
        say(f"Judged by runs like these: {guess}, {estimate.bytes / 1e6:.1f} MB of records{doubt}.")


def _print_left_out(grid: Grid) -> None:
    for reason, count in grid.left_out.items():
        say(f"Left out: {count} combinations. {reason}")
    if grid.repeated:
        say(f"Said again: {grid.repeated} combinations ask for a run that another one asks for too.")


def _print(grid: Grid, swept: Swept, *, as_json: bool) -> None:
    if as_json:
        say_json({
            "runs": len(grid.specs), "reused": swept.reused, "repeated": grid.repeated,
            "left_out": dict(grid.left_out), "complaints": list(swept.complaints),
            "records": [record.to_dict() for record in swept.records],
        })  # fmt: skip
        return
    headers = ("run", "model", "method", "ranks", "precision", "backend", "top-1", "drop", "bytes", "note")
    say_table(headers, [_row(r) for r in swept.records], right=("top-1", "drop", "bytes"))
    say("", f"{len(grid.specs)} runs: {swept.reused} were measured before and not again, {_counted(swept)}.")
    _print_left_out(grid)


def _counted(swept: Swept) -> str:
    states = {state: sum(r.state == state for r in swept.records) for state in ("complete", "refused", "failed")}
    told = [f"{count} {state}" for state, count in states.items() if count or state == "complete"]
    return ", ".join([*told, *([f"{len(swept.complaints)} not measured"] if swept.complaints else [])])


def _row(record: RunRecord) -> tuple[str, ...]:
    spec, metrics = record.spec, record.metrics
    what = (record.run_id[:8], spec.model.name, method_text(spec), ranks_text(spec), spec.precision.name,
            spec.precision.backend)  # fmt: skip
    if metrics is None:
        return (*what, "", "", "", f"{record.state}: {record.reason}")
    return (*what, percent(metrics.top1), f"{100 * record.drop()[0]:+.2f}", f"{metrics.bytes:,}", "")
