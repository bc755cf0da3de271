"""Two to four runs side by side."""

import pandas as pd
import streamlit as st

from dashboard.facts.comparison import MOST, comparison, layers_side_by_side
from dashboard.facts.groups import best_run
from dashboard.panels import blocks
from dashboard.shelf.state import choices
from dashboard.words.text import run_label
from tdq_core.specs import PrecisionSpec

st.title("Compare")
group = blocks.choose_group(blocks.all_runs().values)
by_id = {r.run_id: r for r in group.complete}
dense = [r.run_id for r in group.complete if not r.spec.decomposition and r.spec.precision == PrecisionSpec()]
decomposed = [r for r in group.complete if r.spec.decomposition]
default = list(dict.fromkeys([*dense[:1], best_run(decomposed or group.complete)]))
chosen = st.multiselect(
    "Runs, the first is compared against",
    list(by_id),
    max_selections=MOST,
    format_func=lambda i: run_label(by_id[i]),
    **choices("runs", list(by_id), default=default),
)
if len(chosen) < 2:
    st.info(f"Choose two to {MOST} runs of this model and these images.", icon=":material/compare_arrows:")
    st.stop()
records = [by_id[i] for i in chosen]
st.dataframe(pd.DataFrame(comparison(records)), hide_index=True, height="content")
st.caption(
    "In brackets: the difference against the first run, in points, or as a factor (x 0.50 is half of it). "
    "\N{NOT EQUAL TO} marks another choice. Intervals are 95 %."
)
if layers := layers_side_by_side(records):
    st.subheader("Layers")
    st.dataframe(pd.DataFrame(layers), hide_index=True)
    st.caption("Error: |W - W~| / |W|, Frobenius norm, of the kernel before quantization.")
blocks.download_csv(records, "tdq-compare", key="csv-compare")
