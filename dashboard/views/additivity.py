"""Do the drops of decomposition and quantization add up?"""

import pandas as pd
import streamlit as st

from dashboard.figures.additivity import additivity_figure, additivity_info, joined_runs, what_is_seen
from dashboard.panels import blocks
from dashboard.shelf.state import flag
from tdq_core.analysis.additivity import find_cells

POINTS = st.column_config.NumberColumn(format="%+.2f")

st.title("Additivity")
st.markdown(
    "A model is measured untouched, decomposed (TD), quantized (Q), and both. If the two treatments do not "
    "influence each other, the joint drop equals the sum of the separate drops: points lie on the dashed line."
)
group = blocks.choose_group(blocks.all_runs().values)
cells = find_cells(group.complete)
if not cells:
    blocks.nothing_yet(
        "No group of four cells is complete: dense, decomposed, quantized, and both, with the same ranks."
    )
info = additivity_info(cells)
intervals = st.toggle("95 % intervals", **flag("cells_intervals", True))
chart, table = st.tabs(["Chart", "Table"])
with chart:
    st.plotly_chart(additivity_figure(info, intervals=intervals), key="additivity", config={"displaylogo": False})
with table:
    rows = [
        {
            "run": p.run_id,
            "treatment": p.treatment,
            "TD alone": 100 * p.decomposed[0],
            "Q alone": 100 * p.quantized[0],
            "sum": 100 * p.summed[0],
            "joint": 100 * p.joint[0],
            "interaction": 100 * p.interaction[0],
            "low": 100 * p.interaction[1],
            "high": 100 * p.interaction[2],
        }
        for p in info.points
    ]
    frame = pd.DataFrame(rows)
    numbers = [c for c in frame.columns if c not in ("run", "treatment")]
    st.dataframe(frame, hide_index=True, column_config=dict.fromkeys(numbers, POINTS), height=480)
    st.download_button(
        "CSV of this table (points)",
        frame.to_csv(index=False),
        "tdq-additivity.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
st.markdown(what_is_seen(info))
st.caption(
    f"All values are top-1 points on the same {group.n:,} images, intervals are paired by image, 95 %, and not "
    "corrected for looking at many groups at once. Interaction = joint - sum; above zero: the two hurt each other "
    "more than they do apart."
)
blocks.download_csv(joined_runs(cells), f"tdq-cells-{group.about.model.name}", key="csv-cells")
