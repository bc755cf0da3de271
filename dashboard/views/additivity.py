"""Do the drops of decomposition and quantization add up?"""

import pandas as pd
import streamlit as st

from dashboard.facts.additions import MARGIN, addition_rows, joined_runs, kind_rows, verdict_text
from dashboard.figures.additivity import additivity_figure
from dashboard.panels import blocks, charts, layer_map, tables
from dashboard.panels.head import here
from dashboard.shelf import catalog
from dashboard.words.glossary import meaning

POINTS = st.column_config.NumberColumn(format="%+.2f")
P = st.column_config.NumberColumn(format="%.2g", help="Of no interaction: exact, corrected for all groups (Holm)")
RUN = st.column_config.LinkColumn("run", display_text=r"run=(.{8})")

subject = here().subject
cells, additions = catalog.additions(subject)
if not cells:
    blocks.nothing_yet(
        "No group of four runs is complete: dense, decomposed, quantized, and both, with the same ranks."
    )
st.markdown(verdict_text(additions), help=meaning("Interaction"))
charts.draw(
    additivity_figure(additions), "additivity",
    f"Interactions of {len(additions)} groups of runs, by method and precision", "the tables below hold them",
)  # fmt: skip
n = subject.group.n if subject.group else 0
st.caption(
    f"Joint drop minus the sum of the separate drops, in top-1 points on the same {n:,} images: above zero the two "
    "hurt each other more than they do apart. Each point is a group of four runs (dense, decomposed, quantized, both), "
    f"paired by image; the intervals hold all {len(additions)} at once in 95 % of all cases (Bonferroni). Shaded: "
    f"within {100 * MARGIN:g} point. In a column the sum of the separate drops grows to the right; the furthest "
    "exception of each has its number. 'tdq additivity' says the same, for any margin."
)
st.subheader("By method and precision", anchor=False)
tables.show(kind_rows(additions), dict.fromkeys(("mean interaction", "largest"), POINTS))
with st.expander(f"All {len(additions)} groups, exceptions first", expanded=True):
    rows = addition_rows(additions)
    table = pd.DataFrame([row | {"run": blocks.run_address(str(row["run"]))} for row in rows])
    numbers = [c for c in table.columns if c not in ("run", "treatment", "verdict", "p")]
    tables.show(table, {**dict.fromkeys(numbers, POINTS), "run": RUN, "p": P}, height=420)
    st.download_button(
        "CSV of this table (points)",
        pd.DataFrame(rows).to_csv(index=False),
        "tdq-additivity.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
layer_map.show(subject.spec)
blocks.download_csv(joined_runs(cells), f"tdq-cells-{subject.spec.model.name}", key="csv-cells")
blocks.link("components", "Why does INT8 fail where it does? Page Components")
