"""Two to four runs side by side: is the difference between them real?"""

import streamlit as st

from dashboard.facts.comparison import MOST, comparison, first_compared, layers_side_by_side
from dashboard.panels import blocks, tables
from dashboard.panels.head import here
from dashboard.shelf.state import choices
from dashboard.words.text import run_label

runs = here().subject.runs
if not runs:
    blocks.nothing_yet("No run of this network on these images has been measured yet.")
by_id = {r.run_id: r for r in runs}
chosen = st.multiselect(
    "Runs, the first is compared against",
    list(by_id),
    max_selections=MOST,
    select_all=False,
    format_func=lambda i: run_label(by_id[i]),
    **choices("runs", list(by_id), default=first_compared(runs)),
)
if len(chosen) < 2:
    st.info(f"Choose two to {MOST} runs of this network and these images.", icon=":material/compare_arrows:")
    st.stop()
records = [by_id[i] for i in chosen]
tables.show(comparison(records), height="content")
st.caption(
    "Lost against the first: on the same images, paired; the difference is real where the 95 % interval leaves zero "
    "out. In brackets: the factor against the first run (x 0.50 is half of it). \N{NOT EQUAL TO} marks another choice."
)
if layers := layers_side_by_side(records):
    st.subheader("Layers", anchor=False)
    tables.show(layers)
    st.caption(
        "Error before quantization, relative: of the kernel (|W − W~| / |W|, Frobenius), or of the layer's outputs "
        "where factors were fitted to outputs."
    )
blocks.download_csv(records, "tdq-compare", key="csv-compare")
