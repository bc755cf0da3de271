"""`tdq saturation`: what an int8 file scores on CPUs without VNNI, and a file that survives them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tdq_core.cli.export import ModelFlag, placed
from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import complain, progress_bars, say, say_json, say_table
from tdq_core.errors import InputError
from tdq_core.pipeline.exports.told import NAME, export_folder
from tdq_core.pipeline.exports.without_vnni import Saturation
from tdq_core.records.store import RunStore
from tdq_core.system.files import user_path
from tdq_core.system.progress import Progress

if TYPE_CHECKING:
    from tdq_core.pipeline.exports.saturation import Repaired

SHOWN = 12
"""Layers in a table."""


def saturation(
    what: Annotated[str, typer.Argument(help="A folder that `tdq export` wrote, or the id of a run, which it writes.")],
    data: Annotated[str | None, typer.Option("--data", help="Labelled images, where not those it names.")] = None,
    repair: Annotated[Path | None, typer.Option(help="A new folder for the file with guilty layers at 7 bits.")] = None,
    within: Annotated[float, typer.Option(help="Points that the repaired file may lose without VNNI.")] = 0.2,
    calib: Annotated[str | None, typer.Option("--calib", help="A run's calibration images, the same.")] = None,
    model: ModelFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Score an int8 ONNX file as x86 CPUs with and without VNNI run it, on any CPU; name the layers that saturate, and
    with --repair write it again with as few of them at 7 bits as it takes."""
    with progress_bars() as on_progress:
        folder = _folder(what, data, calib, model, on_progress)
        from tdq_core.pipeline.exports import saturation as both

        done = None
        if repair is None:
            both.saturation(folder, data=data, on_progress=on_progress)
        else:
            done = both.repair(folder, user_path(repair), within=within, data=data, on_progress=on_progress)
        found = Saturation.read(folder)
        assert found, "as it was written there"
    if as_json:
        say_json({"folder": str(folder)} | _plain(found) | ({"repaired": _repaired(done)} if done else {}))
    else:
        _print(found)
        if done:
            _print_repaired(done, within)
    if done and not done.enough:
        complain(
            f"{100 * done.lost:+.2f} points are lost all the same, more than {within:g}: rounding to 7 bits costs some "
            "too, and no other number of layers that was tried loses less."
        )
        raise typer.Exit(1)


def _folder(what: str, data: str | None, calib: str | None, model: str | None, on_progress: Progress) -> Path:
    """The export that is named, or that of the run that is: where the page exports it too."""
    folder = user_path(Path(what))
    if folder.is_dir():
        return folder
    try:
        record = RunStore().find(what)
    except InputError as error:
        raise InputError(f"'{what}' is no folder that `tdq export` wrote, and no run: {error}") from error
    spec = placed(record, data, calib, model)
    folder = export_folder(record.run_id, "onnx")
    if not (folder / NAME).is_file():
        from tdq_core.pipeline.exports.export import export_run

        export_run(record, spec, "onnx", folder, on_progress=on_progress)
    return folder


def _print(found: Saturation) -> None:
    say(f"{found.sentence()}; {found.changed()} answers are right one way only")
    lost = len(found.layers)
    say(f"  {lost} of {found.of} layers lose something; {len(found.seven_bits)} are within 7 bits and cannot")
    if lost:
        headers = ("layer", "pairs saturated", "of its output", "of the answers")
        shown = found.layers[:SHOWN]
        rows = [(la.name, f"{la.pairs:,}", f"{100 * la.share:.2f} %", f"{100 * la.answers:.2f} %") for la in shown]
        say_table(headers, rows, right=headers[1:])
    if lost > SHOWN:
        say(f"  and {lost - SHOWN} more, which lose less")


def _print_repaired(done: "Repaired", within: float) -> None:
    if done.folder is None:
        say("", f"Nothing to repair: within {within:g} points. Nothing was written.")
        return
    say("", f"{done.folder}: {len(done.found.seven_bits)} of {done.found.of} layers at 7 bits")
    say(*(f"  {name}" for name in done.found.seven_bits), f"  {done.found.sentence()}")


def _plain(found: Saturation) -> dict[str, object]:
    drop, low, high = found.drop()
    return {
        "with_vnni": found.score("exact")[0],
        "without_vnni": found.score("saturating")[0],
        "drop": [drop, low, high],
        "n": found.n,
        "changed": found.changed(),
        "layers": [msgspec.to_builtins(each) for each in found.layers],
        "of": found.of,
        "seven_bits": list(found.seven_bits),
    }


def _repaired(done: "Repaired") -> dict[str, object]:
    where = str(done.folder) if done.folder else None
    return {"folder": where, "lost": done.lost, "enough": done.enough} | _plain(done.found)
