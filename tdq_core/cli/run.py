"""`tdq run`: one measured point."""

from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.records import print_card
from tdq_core.cli.terminal import err, print_json, progress_bars
from tdq_core.specs import Decomposition, ImageSpec, ModelSpec, PrecisionSpec, RunSpec, Treatment


@takes_spec(ModelSpec, ImageSpec, Decomposition, Treatment, PrecisionSpec, RunSpec)
def run(
    spec: RunSpec,
    export: Annotated[Path | None, typer.Option(help="Write the artefact, its ranks and the record here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Decompose, quantize and measure one model, and keep the record."""
    from tdq_core.api.runs import run as carry_out

    with progress_bars() as on_progress:
        outcome = carry_out(spec, on_progress=on_progress, export=export)
    record = outcome.record
    if as_json:
        print_json(record.to_dict())
    else:
        print_card(record, reused=outcome.reused)
    if record.state != "complete":
        err.print(f"tdq: {record.reason}", markup=False, soft_wrap=True)
        raise typer.Exit(2 if record.state == "refused" else 1)
