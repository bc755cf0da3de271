"""One study of components: choose it or compute it, choose a layer, and look into it."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.facts.draft import DEFAULT_RATIO
from dashboard.facts.subject import studies_it
from dashboard.figures.components import (
    DRAWN_POINTS,
    GRID_BITS,
    GRIDS,
    entries_figure,
    norms_figure,
    points_of,
    ranges_figure,
    strip_figure,
)
from dashboard.panels import blocks
from dashboard.panels.controls import MOST_ETA, side_by_side
from dashboard.panels.jobs import submit
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice, number, record_choice, take_next
from dashboard.words.components import costs, latencies, latency_commands, study_label, what_is_seen
from dashboard.words.markup import plain
from tdq_core.analysis.components import FEW_LEVELS, STUDIES, Components, LayerComponents, study_spec
from tdq_core.jobs.queue import Request
from tdq_core.records.record import RunRecord
from tdq_core.specs import DEFAULT_ETA, RankRule, RunSpec
from tdq_core.specs.choices import GRANULARITIES, labels

_BARE = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def choose_study(subject: RunSpec, offers: Offers) -> Components | None:
    """The study of this model and these images that is looked at; where there is none, how to get one."""
    own = {s.study_id: s for s in blocks.found(STUDIES).values if studies_it(s.spec, subject)}
    if not own:
        with st.container(border=True):
            st.markdown(
                f"**The components of {plain(subject.model.name)} on {plain(subject.images.data)} have not been "
                "looked into yet.**"
            )
            st.markdown("Choose a ratio and press **Run**: every layer is decomposed twice, which can take minutes.")
            _compute(subject, offers)
        return None
    if (made := take_next("study")) in own:
        st.session_state["study"] = made
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Study", list(own), format_func=lambda i: study_label(own[i]), **record_choice("study", list(own))
    )
    with right.popover("Another study", icon=":material/add:"):
        _compute(subject, offers)
    return own[chosen]


def _compute(subject: RunSpec, offers: Offers) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ratio = st.number_input(
            "Params, original / compressed",
            1.01,
            1000.0,
            step=0.1,
            format="%.2f",
            width=230,
            help="Of the whole model: 2 keeps half.",
            **number("study_ratio", DEFAULT_RATIO, 1.01, 1000.0),
        )
        eta = st.slider(
            "Error may grow by (eta)", 0.0, MOST_ETA, step=0.01, width=220,
            **number("study_eta", DEFAULT_ETA, 0.0, MOST_ETA),
        )  # fmt: skip
        if st.button("Run", type="primary", icon=":material/play_arrow:"):
            spec = study_spec(subject, rule=RankRule("ratio", ratio), eta=eta)
            submit(Request(kind="components", spec=spec, allowed_models=offers.allowed))
            st.rerun()


def show_study(study: Components, records: Sequence[RunRecord]) -> None:
    """The strip of layers, then everything about one of them."""
    for note in study.notes:
        st.caption(f":material/info: {plain(note)}")
    names = [la.name for la in study.layers]
    arguments = choice("layer", names)
    st.plotly_chart(
        strip_figure(study, st.session_state["layer"]),
        key="strip",
        on_select=_pick,
        selection_mode="points",
        config=_BARE,
    )
    st.caption("Lower is better on both. Press a point, or choose a layer here.")
    layer = study.layer(st.selectbox("Layer", names, width=300, **arguments))
    st.markdown(what_is_seen(layer))
    _charts(layer)
    _sobriety(study, layer, records)


def _pick() -> None:
    """A press on a point chooses its layer."""
    if points := st.session_state["strip"].selection.points:
        name = points[0]["customdata"]
        st.session_state["layer"] = name if isinstance(name, str) else name[0]


def _charts(layer: LayerComponents) -> None:
    st.subheader("Size of the components")
    st.plotly_chart(norms_figure(layer), key="norms", config=_BARE)
    st.caption("Dashed: the norm of the whole kernel. Larger components than that can only be there to cancel others.")
    st.subheader("Ranges inside the layer")
    st.plotly_chart(ranges_figure(layer), key="ranges_inside", config=_BARE)
    st.caption(
        f"Over the calibration images. The line is one INT8 step: all components share it. Shaded: fewer than "
        f"{FEW_LEVELS} levels."
    )
    st.subheader("Weights of the sub-layers")
    grids = {name: label for name, label in labels(GRANULARITIES).items() if name in GRIDS}
    with st.container(horizontal=True, gap="medium"):
        granularity = side_by_side("Grid with", grids, choice("grid", list(grids)))
        many = {str(b): f"{b} bits" for b in GRID_BITS}
        bits = int(side_by_side("Grid of", many, choice("grid_bits", list(many))))
    st.plotly_chart(entries_figure(layer, granularity=granularity, bits=bits), key="entries", config=_BARE)
    exact = bits == GRID_BITS[0]
    half = "half a step" if granularity == "tensor" else "half the median channel's step"
    told = "the percentages are exact" if exact else "the percentages are read off the histogram"
    points = "" if points_of(bits) > DRAWN_POINTS else " Dotted: the points of the grid."
    st.caption(f"Shaded: weights that round to zero, below {half}; {told}.{points}")


def _sobriety(study: Components, layer: LayerComponents, records: Sequence[RunRecord]) -> None:
    st.subheader("What it costs")
    st.markdown(costs(study, layer))
    if rows := latencies(study, records):
        st.dataframe(pd.DataFrame(rows), hide_index=True)
        return
    st.markdown(
        "No run of this model has a measured latency, and params and MACs do not tell how fast it is. "
        "These two commands measure it, dense and decomposed:"
    )
    st.code("\n".join(latency_commands(study)), language="bash", wrap_lines=True)
