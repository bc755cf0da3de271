"""A run as a file to take away: asked for, made by a job, downloaded."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard.panels.jobs import start_button, submit
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.errors import InputError
from tdq_core.jobs.queue import Request
from tdq_core.pipeline.exports.told import Told, export_folder
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec
from tdq_core.specs.formats import FORMATS, formats_of


def export_panel(record: RunRecord, spec: RunSpec, offers: Offers) -> None:
    """Export the run that is shown; `spec` is its own, with its images where they lie for this server."""
    if record.state != "complete":
        return
    with st.popover("Export", icon=":material/ios_share:"):
        names = [row.name for row in formats_of(record.spec)]
        name = st.radio("Format", names, format_func=_label, **choice(f"format-{record.run_id}", names))
        folder = export_folder(record.run_id, name)
        told = _told(folder)
        if told is None:
            st.caption(
                "The network is built again, written, and the file is scored in a new process: it must answer every "
                "image as the record says."
            )
        else:
            _done(folder, told, record)
        if start_button("Write it again" if told else "Write the file", spec, offers, key=f"export-{record.run_id}"):
            submit(Request(kind="export", spec=spec, allowed_models=offers.allowed, run_id=record.run_id, format=name))
            st.rerun()


def _label(name: str) -> str:
    return f"{FORMATS[name].label}: {FORMATS[name].text}"


def _told(folder: Path) -> Told | None:
    """What the export in `folder` tells of itself; None where there is none that can be read."""
    try:
        return Told.read(folder)
    except InputError:
        return None


def _done(folder: Path, told: Told, record: RunRecord) -> None:
    lines = [f"**{plain(told.file)}** {text.file_size(told.bytes)}, read by {plain(told.lowest_runtime)} and later"]
    if told.images:
        top1, low, high = told.images.score()
        score = f"{text.percent(top1)} [{text.percent(low)}, {text.percent(high)}], n = {told.images.n:,}"
        lines.append(f"**Top-1 in a new process** {score}")
    if told.run_id != record.run_id:
        lines.append(f"It is the file of run {plain(told.run_id)}: the same on {FORMATS[told.format].backend}.")
    st.markdown("  \n".join(lines))
    st.download_button(
        "File, card and record (zip)",
        _zipped(folder),
        f"tdq-{folder.name}.zip",
        "application/zip",
        key=f"zip-{folder.name}",
        icon=":material/download:",
        on_click="ignore",
    )


def _zipped(folder: Path) -> Callable[[], bytes]:
    """Packed when it is asked for; weights do not shrink, so nothing is deflated."""

    def pack() -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{folder.name}/{file.name}")
        return packed.getvalue()

    return pack
