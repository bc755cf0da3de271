"""How long the run that is shown takes, and where the time goes."""

from typing import Any

import streamlit as st

from dashboard.panels import blocks, tables
from dashboard.panels.jobs import start_button, submit
from dashboard.shelf.offers import Offers
from dashboard.words.markup import plain
from dashboard.words.speed import layer_rows, race_rows, taken, verdicts
from tdq_core.errors import InputError
from tdq_core.jobs.queue import Request
from tdq_core.pipeline.exports.told import export_folder
from tdq_core.pipeline.exports.without_vnni import Saturation
from tdq_core.pipeline.speed.record import SPEEDS, Speed
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec

_MS = st.column_config.NumberColumn(format="%.3f")
_WHOLE = st.column_config.NumberColumn(format="localized")
_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("ms", "q1", "q3", "its ms", "dense ms"), _MS),
    **dict.fromkeys(("dense MACs", "MACs", "dense params", "params", "dense bytes", "bytes"), _WHOLE),
    "times as fast": st.column_config.NumberColumn(format="%.2fx", help="Median of the ratio round by round"),
    "low": st.column_config.NumberColumn(format="%.2fx", help="95 % interval of that median"),
    "high": st.column_config.NumberColumn(format="%.2fx"),
}


def speed_panel(record: RunRecord, spec: RunSpec, offers: Offers) -> None:
    """Timings of a complete run, and a button that takes them; `spec` as in `export_panel`."""
    if record.state != "complete":
        return
    speed = blocks.found(SPEEDS).get(record.run_id)
    with st.expander("Time" if speed is None else "Time, and where it goes"):
        if speed is None:
            st.caption("Not timed yet. It is timed in turn with the dense model at the same numbers and at FP32.")
        else:
            _shown(speed, record)
        if survival := _survival(record.run_id):
            st.caption(survival)
        label = "Time it again" if speed else "Time it"
        if start_button(label, spec, offers, key=f"bench-{record.run_id}", icon=":material/timer:"):
            submit(Request(kind="bench", spec=spec, allowed_models=offers.allowed, run_id=record.run_id))
            st.rerun()


def _survival(run_id: str) -> str:
    """What the exported INT8 file scores on CPUs without VNNI; empty: it was not checked."""
    try:
        found = Saturation.read(export_folder(run_id, "onnx"))
    except InputError as error:
        return plain(error)
    return plain(f"{found.sentence()}: its exported INT8 file, emulated.") if found else ""


def _shown(speed: Speed, record: RunRecord) -> None:
    st.markdown("\n".join(f"- {sentence}" for sentence in verdicts(speed, record)))
    tables.show(race_rows(speed), _COLUMNS)
    if speed.races:
        st.caption(taken(speed))
    if told := speed.profile:
        st.caption(
            f"Where a batch of {told.batch} spends its time in ONNX Runtime, one thread, medians of {told.passes}."
        )
        tables.show(layer_rows(told), _COLUMNS)
    machine = f"{speed.machine.get('cpu')}, load average {speed.load:.1f} before, {speed.time}"
    st.caption(plain(machine))
    for note in speed.notes:
        st.caption(f":material/info: {plain(note)}")
