"""All runs, the failed and the refused too."""

from collections.abc import Callable
from typing import get_args

import streamlit as st

from dashboard.facts.groups import in_order
from dashboard.facts.subject import subject_name
from dashboard.panels import blocks, tables
from dashboard.panels.head import here
from dashboard.panels.track import track_record
from dashboard.shelf.state import choices, flag
from dashboard.words import text
from tdq_core.records.record import State
from tdq_core.specs import BACKENDS, RunSpec
from tdq_core.specs.variant import variant_of

COLUMNS = (
    "state",
    "model",
    "method",
    "ranks",
    "precision",
    "drop",
    "bytes",
    "bytes_ratio",
    "latency",
    "top1",
    "n",
    "conditioned",
    "granularity",
    "ranges",
    "quantization_aware",
    "bits",
    "backend",
    "data",
    "params",
    "compression_ratio",
    "macs",
    "reason",
    "run_id",
)

OF_THE_SUBJECT = ("model", "data", "n")
"""The same in all rows, unless everything is shown."""
FILTERS: dict[str, tuple[str, Callable[[RunSpec], str]]] = {
    "method": ("Method", lambda spec: variant_of(spec).label),
    "precision": ("Precision", lambda spec: spec.precision.numbers.label),
    "condition": ("Conditioning", lambda spec: text.conditioning(spec) or "none to do"),
    "backend": ("Runs on", lambda spec: BACKENDS[spec.precision.backend].label),
}

now = here()
if not now.runs.values:
    blocks.nothing_yet("No run has been measured yet.")
everything = st.toggle("Runs of all networks and images", **flag("everything", False))
own = now.subject.group
of_subject = (*own.complete, *own.unfinished) if own else ()
every = in_order(now.runs.values) if everything else list(of_subject)
if not every:
    blocks.nothing_yet("No run of this network on these images has been measured yet.")
records = every
*columns, last = st.columns(len(FILTERS) + 1)
for column, (name, (label, value)) in zip(columns, FILTERS.items(), strict=True):
    options = sorted({value(r.spec) for r in every})
    wanted = column.multiselect(label, options, placeholder="all", **choices(f"only_{name}", options))
    records = [r for r in records if not wanted or value(r.spec) in wanted]
states = last.multiselect("State", get_args(State), placeholder="all", **choices("only_state", get_args(State)))
records = [r for r in records if not states or r.state in states]
st.caption(f"{len(records)} of {len(now.runs.values)} runs.")
event = tables.show(
    blocks.runs_frame(records, [name for name in COLUMNS if everything or name not in OF_THE_SUBJECT]),
    blocks.RUN_COLUMNS,
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
        one = records[rows[0]]
        blocks.run_card(one)
        blocks.link(
            "explore", "This run on the page Explore", query={"subject": subject_name(one.spec), "run": one.run_id}
        )
else:
    st.caption("Select a row to see its run.")
track_record(records)
