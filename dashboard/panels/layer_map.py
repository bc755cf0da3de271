"""Where decomposition and rounding meet: the map of layers, in words and as a table."""

import streamlit as st

from dashboard.figures.layer_map import map_figure
from dashboard.panels import charts
from dashboard.shelf import catalog
from tdq_core.prediction.meeting import Meeting, Total, form_label, meetings, totals
from tdq_core.specs import PRECISIONS, RunSpec

ROUNDED = ("int8", "w6a6", "w4a8", "w4a4")
"""Numbers that are offered; the map of others is alike, for all changes fall with the square of the step."""


def show(spec: RunSpec) -> None:
    """Of the network of `spec`; without its sensitivities, how to have them."""
    st.subheader("Where they meet, layer by layer", anchor=False)
    found = catalog.sensitivities(spec)
    if found is None:
        st.info(
            "No layer of this network has been measured by itself yet: 'Measure the layers' on Explore, or "
            "`tdq sensitivity`, does that once for all ratios."
        )
        return
    numbers = st.selectbox(
        "Rounded to", ROUNDED, format_func=lambda key: PRECISIONS[key].label, key="map-precision", width=240
    )
    rows = meetings(found, PRECISIONS[numbers])
    forms = totals(rows)
    st.markdown(said(forms))
    name = f"Change of the answers by rounding each of {len(rows)} layers to {PRECISIONS[numbers].label}"
    charts.draw(map_figure(rows), "layer-map", name, lambda: [_row(row) for row in rows])
    st.caption(
        f"Each layer alone, all others in floats, on {found.images} calibration images; factors fitted to outputs at "
        "about 0.42 of a layer's params. Change: mean squared distance of the logits over "
        "their mean square; it has far less noise than a share of right answers. Drops add up where a row keeps its "
        "colour. 'tdq additivity --layers' says the same."
    )


def said(forms: tuple[Total, ...]) -> str:
    """What to take away: how far the answers move, method by method, and where most."""
    if not forms:
        return "No layer was measured as factors."
    told = "; ".join(f"{form_label(t.form)} **{_times(t.times)} times**" for t in forms)
    last = forms[-1]
    where = ", ".join(f"`{name}`" for name, _ in last.worst)
    most = f" {form_label(last.form)} breaks the sum most in {where}." if last.times > 1 and where else ""
    return f"Rounding the factors moves the answers, against rounding the same layers dense: {told}.{most}"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _row(row: Meeting) -> dict[str, str]:
    factors = {form_label(form): f"{change:.2g}" for form, change in row.factors.items()}
    return {"layer": row.layer, "dense": f"{row.dense:.2g}"} | factors
