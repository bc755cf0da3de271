"""Why INT8 fails, told in order: what is lost, in which layer, and what its components look like."""

from collections.abc import Sequence

import streamlit as st

from dashboard.facts.draft import DEFAULT_RATIO
from dashboard.facts.failing import Failure, cause_text, nearest_first, ratio_text, taken_text
from dashboard.facts.subject import Subject, belongs
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
from dashboard.figures.failing import layers_figure, steps_figure
from dashboard.figures.rows import layer_rows, loss_rows, norm_rows, range_rows, step_rows, weight_rows
from dashboard.panels import blocks, charts, tables
from dashboard.panels.controls import MOST_ETA, side_by_side
from dashboard.panels.jobs import start_button, submit
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice, forget, number, record_choice, take_next
from dashboard.words.components import (
    costs,
    finds_nothing,
    latencies,
    latency_commands,
    most_cancelling,
    state_rows,
    study_label,
    what_is_seen,
)
from dashboard.words.glossary import meaning
from dashboard.words.markup import plain
from tdq_core.analysis.components import FEW_LEVELS, STUDIES, Components, LayerComponents, study_spec
from tdq_core.jobs.queue import Request
from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs import DEFAULT_ETA, RankRule, RunSpec
from tdq_core.specs.choices import GRANULARITIES, labels

HOW_IT_FAILS = (
    "CP writes a kernel as a sum of R components. Least squares (ALS) may make them large and let them cancel each "
    "other: harmless in floating point, not on the coarse grid of INT8. Error-preserving correction (EPC) makes them "
    "small at nearly the same error; equalising balances the ranges inside the layer."
)


def show_failure(subject: Subject) -> Failure | None:
    """What INT8 takes from CP at the ratio where it takes most, or at the chosen one, which layers lose, and why; None
    where CP was not measured in INT8 as it is."""
    found = catalog.failures(subject)
    if not found:
        return None
    worst = ratio_text(found[0])
    names = {ratio_text(f): f for f in sorted(found, key=lambda f: f.rule.value or 0.0)}
    st.subheader("1. What is lost", anchor=False)
    labels = {name: f"{name}, where most is lost" if name == worst else name for name in names}
    at = side_by_side(
        "Params: original / compressed", labels, choice("at", list(names), default=worst),
        on_change=lambda: forget("study"),
    )  # fmt: skip
    failure = names[at]
    st.markdown(taken_text(failure))
    ids = [step.record.run_id for step in failure.steps]
    charts.draw_once(
        lambda: steps_figure(failure), "steps", f"CP at {at}, drop step by step", lambda: step_rows(failure), *ids
    )
    st.caption(
        "Against dense FP32 on the same images, 95 % intervals, paired. Hollow: not conditioned; a dot: calibrated."
    )
    st.subheader("2. In which layer, and why", anchor=False)
    st.markdown(HOW_IT_FAILS)
    st.markdown(cause_text(failure), help=meaning("CP"))
    if failure.bare:
        charts.draw_once(
            lambda: layers_figure(failure), "layers_lost", f"CP at {at}, what INT8 does to each layer",
            lambda: loss_rows(failure), *ids,
        )  # fmt: skip
        st.caption(
            "Measured on the decomposed kernels of these runs: rounded to INT8, before anything is conditioned. Layers "
            "whose components cancel each other further are moved further."
        )
    return failure


def studies_of(subject: Subject, failure: Failure | None = None) -> dict[str, Components]:
    """By their ids, those nearest to the ratio of `failure` first, or to that where INT8 takes most."""
    found = failure or next(iter(catalog.failures(subject)), None)
    own = (s for s in catalog.read(STUDIES).values if belongs(s.spec, s.digests, subject, images=False))
    return {s.study_id: s for s in nearest_first(own, found.rule if found else None)}


def choose_study(subject: Subject, offers: Offers, failure: Failure | None) -> Components | None:
    """The study of this network and these images that is looked at, at first one at the ratio of `failure`; where there
    is none, how to get one."""
    blocks.tell_left_out(catalog.read(STUDIES))
    own = studies_of(subject, failure)
    if not own:
        with st.container(border=True):
            st.markdown("**The components of this network on these images have not been looked into yet.**")
            st.markdown("Choose a ratio and press **Run**: every layer is decomposed twice, which can take minutes.")
            _compute(subject.spec, offers)
        return None
    if (made := take_next("study")) in own:
        st.session_state["study"] = made
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Study", list(own), format_func=lambda i: study_label(own[i]), **record_choice("study", list(own))
    )
    with right.popover("Another study", icon=":material/add:"):
        _compute(subject.spec, offers)
    study = own[chosen]
    if failure and study.spec.rule != failure.rule:
        st.caption(f"Looked into at {ranks_text(study.spec)}, not at the {ratio_text(failure)} of 1 and 2 above.")
    return study


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
        if start_button("Run", subject, offers, type="primary", icon=":material/play_arrow:"):
            spec = study_spec(subject, rule=RankRule("ratio", ratio), eta=eta)
            submit(Request(kind="components", spec=spec, allowed_models=offers.allowed))
            st.rerun()


def show_study(study: Components, records: Sequence[RunRecord]) -> None:
    """The strip of layers, then everything about one of them, at first that whose components cancel most."""
    for note in study.notes:
        st.caption(f":material/info: {plain(note)}")
    names = [la.name for la in study.layers]
    arguments = choice("layer", names, default=most_cancelling(study))
    charts.draw(
        strip_figure(study, st.session_state["layer"]), "strip",
        "How far components cancel, and how ranges differ, in every layer",
        lambda: layer_rows(study), on_pick=_pick,
    )  # fmt: skip
    st.caption("Lower is better on both. Press a point, or choose a layer here.")
    layer = study.layer(st.selectbox("Layer", names, width=300, **arguments))
    st.markdown(what_is_seen(layer))
    tables.show(state_rows(layer))
    _charts(study, layer)
    _sobriety(study, layer, records)


def _pick() -> None:
    """A press on a point chooses its layer."""
    if points := st.session_state["strip"].selection.points:
        name = points[0]["customdata"]
        st.session_state["layer"] = name if isinstance(name, str) else name[0]


def _charts(study: Components, layer: LayerComponents) -> None:
    charts.draw_once(
        lambda: norms_figure(layer), "norms", f"Norms of the components of {layer.name}", lambda: norm_rows(layer),
        study.study_id, layer.name,
    )  # fmt: skip
    st.caption("Dashed: the norm of the whole kernel. Larger components than that can only be there to cancel others.")
    nothing = finds_nothing(layer)
    with st.expander(nothing or "Ranges and weights against the grid of INT8", expanded=not nothing):
        _grids(study, layer)


def _grids(study: Components, layer: LayerComponents) -> None:
    """Ranges of the components and weights of the sub-layers beside the grid that they are rounded to."""
    st.markdown("**Ranges inside the layer**")
    charts.draw_once(
        lambda: ranges_figure(layer), "ranges_inside", f"Ranges of the components of {layer.name}",
        lambda: range_rows(layer), study.study_id, layer.name,
    )  # fmt: skip
    st.caption(
        f"Over the calibration images. The line is one INT8 step: all components share it. Shaded: fewer than "
        f"{FEW_LEVELS} levels."
    )
    st.markdown("**Weights of the sub-layers**")
    grids = {name: label for name, label in labels(GRANULARITIES).items() if name in GRIDS}
    with st.container(horizontal=True, gap="medium"):
        granularity = side_by_side("Grid with", grids, choice("grid", list(grids)))
        many = {str(b): f"{b} bits" for b in GRID_BITS}
        bits = int(side_by_side("Grid of", many, choice("grid_bits", list(many))))
    charts.draw_once(
        lambda: entries_figure(layer, granularity=granularity, bits=bits),
        "entries", f"Weights of the sub-layers of {layer.name}",
        lambda: weight_rows(layer, granularity=granularity, bits=bits),
        study.study_id, layer.name, granularity, str(bits),
    )  # fmt: skip
    exact = bits == GRID_BITS[0]
    half = "half a step" if granularity == "tensor" else "half the median channel's step"
    told = "the percentages are exact" if exact else "the percentages are read off the histogram"
    points = "" if points_of(bits) > DRAWN_POINTS else " Dotted: the points of the grid."
    st.caption(f"Shaded: weights that round to zero, below {half}; {told}.{points}")


def _sobriety(study: Components, layer: LayerComponents, records: Sequence[RunRecord]) -> None:
    st.subheader("What it costs", anchor=False)
    st.markdown(costs(study, layer))
    if found := latencies(study, records):
        for under, rows in found.items():
            st.caption(f"Timed with {plain(under)}; other conditions cannot be compared with these.")
            tables.show(rows)
        return
    st.markdown(
        "No run of this model has a measured latency, and params and MACs do not tell how fast it is. "
        "These two commands measure it, dense and decomposed:"
    )
    st.code("\n".join(latency_commands(study)), language=None, wrap_lines=True)
