"""The drop that is predicted of the plan on the page, while its sliders move."""

import math

import streamlit as st

from dashboard.facts.foreseen import foreseen, measured
from dashboard.figures.foreseen import foreseen_figure
from dashboard.panels import charts
from dashboard.panels.jobs import start_button, submit
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.errors import TDQError
from tdq_core.jobs.queue import Request
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import Prediction, Predictor
from tdq_core.ranks.plan import Plan
from tdq_core.records.store import RUNS
from tdq_core.specs import RunSpec

_HELP = (
    "Nothing is built for it. How far the answers move when one layer alone is decomposed or rounded was measured once "
    "on unlabelled images; the plan's layers are added up, and the runs of this network say what such a sum costs."
)


def prediction(spec: RunSpec, plan: Plan, offers: Offers) -> None:
    """A tile with the drop and its interval; or why there is none, and what helps."""
    predictor = catalog.predictor(spec, catalog.read(RUNS))
    if predictor is None:
        st.caption("**Predicted drop**: not yet. It takes one measurement of what each layer does to the answers.")
        if start_button("Measure the layers", spec, offers, icon=":material/query_stats:", help=_HELP):
            submit(Request(kind="sensitivity", spec=spec, allowed_models=offers.allowed))
            st.rerun()
        return
    found = predictor.predict(spec, plan.layers, images=spec.images.samples)
    if found.drop is None or found.low is None or found.high is None:
        st.caption(f"**Predicted drop**: {plain(found.reason or '')}")
        return
    st.metric("Predicted drop", "within noise" if found.within_noise else text.points(found.drop), help=_HELP)
    st.caption(f"{text.interval(found.low, found.high)} points, 90 %; {_basis(found)}")
    if spec.decomposition:
        _aim(spec, predictor)


def _aim(spec: RunSpec, predictor: Predictor) -> None:
    """The other way round: a drop is typed, and the ranks go where most is saved within it."""
    with st.popover("Aim for a drop", icon=":material/target:"):
        points = st.number_input("At most, points of top-1", 0.1, 50.0, 1.0, 0.1, key="aim")
        st.caption("Ranks of least predicted drop, at the largest ratio that is predicted to lose no more.")
        st.button("Set the ranks", type="primary", on_click=_set_ranks, args=(spec, predictor, points / 100))
        if said := st.session_state.pop("aim_said", None):
            st.warning(plain(text.on_screen(said)), icon=":material/block:")


def _set_ranks(spec: RunSpec, predictor: Predictor, drop: float) -> None:
    """Controls are set before the page is drawn again: a drawn one must not be."""
    try:
        rule = with_drop(predictor, spec, drop).rule
    except TDQError as error:
        st.session_state["aim_said"] = str(error)
        return
    assert rule and rule.value, "a ratio was found"
    st.session_state.update(rule="ratio", policy=rule.policy, ratio=max(1.01, math.floor(100 * rule.value) / 100))


def chart(spec: RunSpec, plan: Plan) -> None:
    """The curve that the plan lies on; nothing where nothing is predicted."""
    runs = catalog.read(RUNS)
    predictor = catalog.predictor(spec, runs)
    now = foreseen(predictor, spec, plan) if predictor else None
    if predictor is None or now is None or spec.decomposition is None:
        return
    figure = foreseen_figure(catalog.front(spec, predictor), measured(runs.values, spec), now, spec)
    charts.draw(figure, "foreseen", bare=True)


def _basis(found: Prediction) -> str:
    if not found.runs:
        return "from other networks' runs"
    return f"from {found.runs} run{'s' * (found.runs != 1)} of this network"
