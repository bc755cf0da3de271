"""`tdq export` and `tdq verify`: files for use elsewhere, and whether they still are what was measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import complain, percent, progress_bars, say, say_json
from tdq_core.errors import InputError
from tdq_core.models.registry import is_known_code
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.specs.formats import FORMATS
from tdq_core.system.files import user_path

if TYPE_CHECKING:
    from tdq_core.pipeline.exports.told import Seen, Told
    from tdq_core.pipeline.exports.verify import Verified

_FORMATS = "; ".join(f"{row.name}: {row.text}" for row in FORMATS.values())
ModelFlag = Annotated[
    str | None, typer.Option("--model", help="What builds the network, where that is code of your own.")
]


def export(
    run_id: Annotated[str, typer.Argument(help="The run's id or its first digits.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    format: Annotated[str, typer.Option("--format", help=f"{_FORMATS}.")] = "onnx",
    data: Annotated[str | None, typer.Option("--data", help="The run's images, where they lie elsewhere now.")] = None,
    calib: Annotated[str | None, typer.Option("--calib", help="Its calibration images, the same.")] = None,
    model: ModelFlag = None,
    opset: Annotated[int | None, typer.Option(help="Version of the ONNX operators (13 to 20).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a measured run as a file that runs without TDQ, scored in a new process, with a card beside it."""
    record = RunStore().find(run_id)
    spec = placed(record, data, calib, model)
    from tdq_core.pipeline.exports.export import export_run

    out = user_path(out)
    with progress_bars() as on_progress:
        done = export_run(record, spec, format, out, opset=opset, on_progress=on_progress)
    if as_json:
        say_json({"folder": str(out), "run_id": done.told.run_id, "file": done.told.file, "bytes": done.told.bytes})
        return
    print_told(out, done.told)
    if done.told.run_id != record.run_id:
        say(
            f"  note: the run {record.run_id} was measured on {record.spec.precision.backend}; the file is that of the "
            f"run {done.told.run_id}, the same on {FORMATS[format].backend}"
        )


def print_told(folder: Path, told: "Told") -> None:
    """What was exported, for people."""
    say(f"{folder / told.file}: {told.bytes:,} bytes, read by {told.lowest_runtime or 'its runtime'} and later")
    if told.images:
        say(f"  {_scored(told.images)}, in a process of its own")


def _scored(seen: "Seen") -> str:
    top1, low, high = seen.score()
    return f"top-1 {percent(top1)}  [{percent(low)}, {percent(high)}]  n = {seen.n}"


def placed(record: RunRecord, data: str | None, calib: str | None, model: str | None) -> RunSpec:
    """The run's spec with its places as they are here. Other people's code is run for those only who name it."""
    spec, name = record.spec, record.spec.model.name
    if model is None and not is_known_code(name):
        raise InputError(
            f"The run {record.run_id} is of '{name}', whose code is run for those only who name it: give it as --model."
        )
    flat = {"model": model or name, "data": data or spec.images.data}
    return spec.changed(**flat, **({"calib": calib} if calib else {}))


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that `tdq export` or --export wrote.")],
    data: Annotated[str | None, typer.Option("--data", help="Labelled images, where not those it names.")] = None,
    model: ModelFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Load an export in a new process and hold it against what was written down: file, logits, and score.

    A .pt2 file is loaded as torch.export does, which trusts whoever wrote it."""
    from tdq_core.pipeline.exports.verify import verify as check

    with progress_bars() as on_progress:
        found = check(user_path(folder), data=data, model=model, on_progress=on_progress)
    if as_json:
        score = {"top1": found.images.score()[0], "n": found.images.n} if found.images else {"top1": None, "n": None}
        say_json({"file": found.told.file, "logits_apart": found.logits_apart, "changed": found.changed, **score,
                  "wrong": list(found.wrong)})  # fmt: skip
    else:
        _print_verified(found)
    for sentence in found.wrong:
        complain(sentence)
    if found.wrong:
        raise typer.Exit(1)


def _print_verified(found: "Verified") -> None:
    say(f"{found.told.file}: {'not what was written down' if found.wrong else 'as it was written down'}")
    say(f"  logits within {found.logits_apart:.2g} of their spread")
    if found.images is None:
        say("  no images: the card names none, and --data was not given")
        return
    changed = f"{found.changed} answers changed"
    say(f"  {_scored(found.images)}: {'other images than the recorded ones' if found.changed is None else changed}")
