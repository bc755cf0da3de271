"""`tdq bench`: how long runs take, and where the time goes."""

from collections.abc import Iterator
from typing import Annotated

import typer

from tdq_core.cli.export import ModelFlag, placed
from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import complain, progress_bars, say, say_json, say_table
from tdq_core.errors import InputError, NotNow
from tdq_core.pipeline.speed.record import Profile, Race, Speed
from tdq_core.records.store import RunStore
from tdq_core.specs.option import require_choice
from tdq_core.specs.precision import BACKENDS


def bench(
    run_ids: Annotated[list[str], typer.Argument(help="Ids of runs, or their first digits.")],
    batch: Annotated[str, typer.Option(help="Images a call, with commas between.")] = "1,16",
    threads: Annotated[str, typer.Option(help="Threads, with commas between; all: as many as there are.")] = "1,all",
    backend: Annotated[str | None, typer.Option(help=f"One of {', '.join(BACKENDS)}; none: both.")] = None,
    seconds: Annotated[float, typer.Option(help="Of each race; all that are compared share it.")] = 2.0,
    data: Annotated[str | None, typer.Option("--data", help="The runs' images, where they lie elsewhere now.")] = None,
    calib: Annotated[str | None, typer.Option("--calib", help="Their calibration images, the same.")] = None,
    model: ModelFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Time runs against the dense model at their precision and at fp32, in turn on one clock; and layer by layer."""
    records = [RunStore().find(run_id) for run_id in run_ids]
    specs = [placed(record, data, calib, model) for record in records]
    backends = tuple(BACKENDS) if backend is None else (backend,)
    for name in backends:
        require_choice("backend", name, BACKENDS)
    from tdq_core.pipeline.bench import bench as timed
    from tdq_core.pipeline.bench import keep
    from tdq_core.pipeline.speed.races import Settings

    settings = Settings(_numbers("batch", batch), _numbers("threads", threads), seconds)
    told = []
    for record, spec in zip(records, specs, strict=True):
        with progress_bars() as on_progress:
            speed = timed(record, spec, settings, backends=backends, on_progress=on_progress)
        told.append(speed)
        if not as_json:
            print_speed(speed)
    if as_json:
        say_json([speed.to_dict() for speed in told])
    unkept = []
    for speed in told:
        try:
            keep(speed)
        except NotNow as error:
            unkept.append(error)
            complain(error)
    if unkept:
        raise typer.Exit(1)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(0 if part.strip() == "all" and name == "threads" else int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"The '--{name}' must be whole numbers with commas between, as 1,16. Got '{text}'.") from error


def print_speed(speed: Speed) -> None:
    """Timings for people."""
    say(f"run {speed.run_id}: load average {speed.load:.1f} before, {speed.machine.get('cpu')}")
    headers = ("backend", "precision", "batch", "threads", "ms", "quartiles", "against", "ms there", "times as fast",
               "95 %", "verdict")  # fmt: skip
    say_table(headers, [line for race in speed.races for line in _lines(race)],
              right=("batch", "threads", "ms", "ms there", "times as fast"))  # fmt: skip
    if speed.profile:
        _print_profile(speed.profile)
    for note in speed.notes:
        say(f"note: {note}")


def _lines(race: Race) -> Iterator[tuple[str, ...]]:
    spread = f"[{race.run.q1_ms:.3f}, {race.run.q3_ms:.3f}]"
    own: tuple[str, ...] = (race.backend, race.precision, str(race.batch), str(race.threads))
    own = (*own, f"{race.run.median_ms:.3f}", spread)
    if not race.rivals:
        yield (*own, "", "", "", "", "")
    for name, ratio in race.ratios.items():
        interval = f"[{ratio.low:.2f}, {ratio.high:.2f}]"
        yield (*own, name, f"{race.rivals[name].median_ms:.3f}", f"{ratio.median:.2f}", interval, ratio.verdict)
        own = ("",) * len(own)


def _print_profile(told: Profile) -> None:
    say("", f"Where the time of a batch of {told.batch} goes at {told.precision}, one thread, ONNX Runtime's profiler:")
    rows: list[tuple[str, ...]] = [
        (la.name, la.method, _ms(la.dense_ms), _ms(la.ms), f"{la.dense_macs:,}", f"{la.macs:,}",
         f"{la.dense_params:,}", f"{la.params:,}", f"{la.dense_bytes:,}", f"{la.bytes:,}", la.verdict)
        for la in told.layers
    ]  # fmt: skip
    rest = sorted({*told.rest, *told.dense_rest}, key=lambda kind: -told.rest.get(kind, 0.0))
    rows += [(f"({kind})", "", _ms(told.dense_rest.get(kind, 0.0)), _ms(told.rest.get(kind, 0.0)), *[""] * 7)
             for kind in rest]  # fmt: skip
    headers = ("layer", "method", "dense ms", "ms", "dense MACs", "MACs", "dense params", "params", "dense bytes",
               "bytes", "verdict")  # fmt: skip
    say_table(headers, rows, right=headers[2:-1])


def _ms(value: float | None) -> str:
    return "not told" if value is None else f"{value:.4f}"
