"""All runs, the failed and the refused too."""

import streamlit as st

from dashboard.facts.groups import in_order
from dashboard.panels import blocks
from dashboard.shelf.state import choices
from tdq_core.records.record import STATES

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

st.title("Runs")
shelf = blocks.shelf_with_warnings()
if not shelf.records:
    blocks.nothing_yet("No run has been measured yet.")
records = in_order(shelf.records)
filters = {"model": "Model", "method": "Method", "precision": "Precision", "backend": "Runs on"}
columns = st.columns(len(filters) + 1)
for column, (name, label) in zip(columns, filters.items()):
    options = sorted({getattr(r.spec, name) for r in shelf.records})
    wanted = column.multiselect(label, options, placeholder="all", **choices(f"only_{name}", options))
    records = [r for r in records if not wanted or getattr(r.spec, name) in wanted]
states = columns[-1].multiselect("State", STATES, placeholder="all", **choices("only_state", STATES))
records = [r for r in records if not states or r.state in states]
st.caption(f"{len(records)} of {len(shelf.records)} runs.")
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
