"""`tdq run`: one measured point."""

from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.export import print_told
from tdq_core.cli.options import JsonFlag, LogFlag, takes_spec
from tdq_core.cli.records import print_card
from tdq_core.cli.terminal import complain, progress_bars, say_json
from tdq_core.pipeline.exports.told import Told
from tdq_core.records.logs import logging_to
from tdq_core.specs import Decomposition, ImageSpec, ModelSpec, PrecisionSpec, RunSpec, Treatment
from tdq_core.system.files import user_path


@takes_spec(ModelSpec, ImageSpec, Decomposition, Treatment, PrecisionSpec, RunSpec)
def run(
    spec: RunSpec,
    export: Annotated[Path | None, typer.Option(help="Write the artefact here, with a card and its record.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure it though it was measured before; the new record is kept.")
    ] = False,
    log: LogFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Decompose, quantize and measure one model, and keep the record."""
    from tdq_core.api.runs import run as carry_out

    export = export and user_path(export)
    with logging_to(log or []) as keep:
        with progress_bars() as on_progress:
            outcome = carry_out(spec, on_progress=on_progress, export=export, again=again)
        record = outcome.record
        not_kept = (*outcome.not_kept, *keep([record], files=export))
    if as_json:
        say_json(record.to_dict())
    else:
        print_card(record, reused=outcome.reused)
        if export and outcome.artefact:
            print_told(export, Told.read(export))
    for sentence in not_kept:
        complain(sentence)
    if record.state != "complete":
        complain(record.reason)
        raise typer.Exit(2 if record.state == "refused" else 1)
    if not_kept:
        raise typer.Exit(1)
