"""Do the drops of decomposition and quantization add up?"""

import pandas as pd
import streamlit as st

from dashboard.facts.additions import MARGIN, MOVE_COLUMNS, addition_rows, joined_runs, kind_rows, verdict_text
from dashboard.facts.scales import SCALES, moves_text, sums_text
from dashboard.figures.additivity import additivity_figure
from dashboard.figures.against_ratio import ratio_figure
from dashboard.panels import blocks, charts, layer_map, tables
from dashboard.panels.controls import side_by_side
from dashboard.panels.head import here
from dashboard.shelf import catalog
from dashboard.shelf.state import choice
from dashboard.words.glossary import meaning
from tdq_core.analysis.additivity import SHARE

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
st.markdown(" ".join((moves_text(additions), sums_text(additions))), help=meaning("Squared change"))
labels = {name: scale.label for name, scale in SCALES.items()}
DRAWN = {"methods": "by method and precision", "ratio": "against the ratio"}
with st.container(horizontal=True, gap="medium"):
    asked = side_by_side("Interaction in", labels, choice("scale", list(labels)))
    way = side_by_side("Drawn", DRAWN, choice("drawn", list(DRAWN)))
scale = SCALES[asked]
told = scale.told(additions)
n = subject.group.n if subject.group else 0
SAYS = {
    "points": f"Joint drop minus the sum of the separate drops, in top-1 points on the same {n:,} images: above zero "
    "the two hurt each other more than they do apart.",
    "change": f"Mean squared change of the logits on the same {n:,} images, by both together minus the sum of each "
    "alone, in per cent of that sum: above zero the answers move further than the two explain apart.",
}
PLACED = {
    "methods": "In a column the sum of the separate drops grows to the right; the furthest exception of each has its "
    "number.",
    "ratio": "Runs that differ in nothing but the ratio that was asked for are joined.",
}
if told:
    charts.draw(
        (ratio_figure if way == "ratio" else additivity_figure)(told, scale), "additivity",
        f"Interactions of {len(told)} groups of runs in {scale.label}, {DRAWN[way]}", "the tables below hold them",
    )  # fmt: skip
    within = f"{100 * MARGIN:g} point" if asked == "points" else f"{100 * SHARE:g} %"
    st.caption(
        f"{SAYS[asked]} Each point is a group of four runs (dense, decomposed, quantized, both), paired by image; the "
        f"intervals hold all {len(told)} at once in 95 % of all cases (Bonferroni). Shaded: within {within}. "
        f"{PLACED[way]} 'tdq additivity' says the same, for any margin."
    )
else:
    st.info("None of these groups is told on this scale: the sentence above says why.")
st.subheader("By method and precision", anchor=False)
tables.show(kind_rows(additions), dict.fromkeys(("mean interaction", "largest"), POINTS))
with st.expander(f"All {len(additions)} groups, exceptions first", expanded=True):
    rows = addition_rows(additions)
    table = pd.DataFrame([row | {"run": blocks.run_address(str(row["run"]))} for row in rows])
    numbers = [c for c in table.columns if c not in ("run", "treatment", "verdict", "p", MOVE_COLUMNS[0])]
    tables.show(table, {**dict.fromkeys(numbers, POINTS), "run": RUN, "p": P}, height=420)
    st.download_button(
        "CSV of this table",
        pd.DataFrame(rows).to_csv(index=False),
        "tdq-additivity.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
layer_map.show(subject.spec)
blocks.download_csv(joined_runs(cells), f"tdq-cells-{subject.spec.model.name}", key="csv-cells")
blocks.link("components", "Why does INT8 fail where it does? Page Components")
