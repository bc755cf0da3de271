"""All runs, the failed and the refused too."""

from collections.abc import Callable
from typing import get_args

import streamlit as st

from dashboard.facts.groups import in_order
from dashboard.panels import blocks
from dashboard.shelf.state import choices
from tdq_core.records.record import State
from tdq_core.specs import RunSpec

COLUMNS = (
    "run_id",
    "state",
    "model",
    "data",
    "method",
    "ranks",
    "precision",
    "conditioned",
    "granularity",
    "ranges",
    "backend",
    "top1",
    "drop",
    "n",
    "bytes",
    "bytes_ratio",
    "params",
    "compression_ratio",
    "macs",
    "reason",
)

FILTERS: dict[str, tuple[str, Callable[[RunSpec], str]]] = {
    "model": ("Model", lambda spec: spec.model.name),
    "method": ("Method", lambda spec: spec.method),
    "precision": ("Precision", lambda spec: spec.precision.name),
    "backend": ("Runs on", lambda spec: spec.precision.backend),
}

st.title("Runs")
runs = blocks.all_runs()
if not runs.values:
    blocks.nothing_yet("No run has been measured yet.")
records = in_order(runs.values)
*columns, last = st.columns(len(FILTERS) + 1)
for column, (name, (label, value)) in zip(columns, FILTERS.items(), strict=True):
    options = sorted({value(r.spec) for r in runs.values})
    wanted = column.multiselect(label, options, placeholder="all", **choices(f"only_{name}", options))
    records = [r for r in records if not wanted or value(r.spec) in wanted]
states = last.multiselect("State", get_args(State), placeholder="all", **choices("only_state", get_args(State)))
records = [r for r in records if not states or r.state in states]
st.caption(f"{len(records)} of {len(runs.values)} runs.")
event = st.dataframe(
    blocks.runs_frame(records, COLUMNS),
    hide_index=True,
    column_config=blocks.RUN_COLUMNS,
    height=460,
    on_select="rerun",
    selection_mode="single-row",
    key="runs_table",
)
if not records:
    st.info("No run fits these filters: take one away.", icon=":material/filter_alt_off:")
    st.stop()
blocks.download_csv(records, "tdq-runs", key="csv-runs")
if rows := [i for i in event.selection.rows if i < len(records)]:
    with st.container(border=True):
        blocks.run_card(records[rows[0]])
else:
    st.caption("Select a row to see its run.")
