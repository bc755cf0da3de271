"""What a run leaves behind for use elsewhere: the artefact, its ranks, its record."""

import json
from dataclasses import replace
from pathlib import Path

from tdq_core.compression.quantize import Artefact
from tdq_core.pipeline.build import Clock, Work, build, plan_of
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import Session
from tdq_core.records.record import RunRecord
from tdq_core.system.files import require_folder, write_atomically
from tdq_core.system.progress import Progress


def require_export(folder: Path) -> None:
    """Return where an export can be written into `folder`; InputError, in a sentence that names it, where it cannot."""
    require_folder(folder, "The folder of the export", "name another one")


def export_folder(folder: Path, record: RunRecord, artefact: Artefact) -> list[Path]:
    """Write `ranks.json` and `record.json` beside the artefact, which lies in `folder` already; where layers have bits
    of their own, `bits.json` too.

    They are what `tdq run --ranks` and `--bits` read: with them, the same network can be built again anywhere.
    """
    ranks = {la.name: list(la.ranks) if la.method != "none" else None for la in record.layers}
    bits = {la.name: la.bits for la in record.layers if la.bits}
    return [
        artefact.path,
        write_atomically(folder / "ranks.json", json.dumps(ranks, indent=1)),
        *([write_atomically(folder / "bits.json", json.dumps(bits, indent=1))] if bits else []),
        write_atomically(folder / "record.json", record.to_json()),
    ]


def export_again(
    folder: Path,
    record: RunRecord,
    inputs: RunInputs,
    session: Session,
    *,
    on_progress: Progress,
    program: bool = False,
) -> Artefact:
    """Build the network of a run that has been measured, by its record's ranks, and write its export: a `program` of
    torch.export, where that is asked for."""
    clock, inputs = Clock(), replace(inputs, built=record.layers)
    work = Work(inputs, plan_of(inputs, clock, on_progress), session, clock, on_progress)
    artefact = build(work, folder, program=program).artefact
    export_folder(folder, record, artefact)
    return artefact
