"""Plan a run: ranks by the rule or by hand, what it would cost, and the Run button."""

import contextlib

import streamlit as st

from dashboard.facts.planning import Hand, hand_from, hand_rule, planned_bytes, untouched
from dashboard.panels import ranks
from dashboard.panels.choices import Choices, choose
from dashboard.panels.jobs import submit
from dashboard.panels.subject import spec_of
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import DEFAULT_RATIO, Subject
from dashboard.words import text
from tdq_core.errors import Refused, TDQError
from tdq_core.jobs.queue import Request
from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import layer_file_name
from tdq_core.ranks.plan import RULES_BY_SPECTRUM, Plan
from tdq_core.ranks.policies import POLICIES_BY_SPECTRUM
from tdq_core.specs import RankRule, RunSpec


@st.fragment
def planner(subject: Subject, offers: Offers) -> None:
    """Everything from the choice of a method to the Run button."""
    spec = spec_of(subject, offers)
    st.subheader("Plan a run")
    choices = choose()
    spec = _planned_on(spec, choices)
    table = _table_or_button(spec, offers)
    if table is None:
        return
    context = f"{layer_file_name(spec)}:{choices.method}"
    planned = _plan(spec, choices, context)
    _costs_and_run(spec, offers, choices, planned, table)
    ranks.layer_table_and_sliders(table, planned[1] if planned else untouched(table), choices.method, context)


def _planned_on(spec: RunSpec, choices: Choices) -> RunSpec:
    """The spec whose layer table the plan is made from: calibrated runs share ranks out by their outputs' spectra."""
    by_spectrum = choices.rule in RULES_BY_SPECTRUM or choices.sharing.get("policy") in POLICIES_BY_SPECTRUM
    if choices.settings.get("calibrated") and by_spectrum:
        return spec.changed(method="auto", rule=RankRule("ratio", DEFAULT_RATIO), calibrated=True)
    return spec


def _table_or_button(spec: RunSpec, offers: Offers) -> LayerTable | None:
    try:
        table = catalog.layer_table(spec)
    except TDQError as error:
        st.error(str(error), icon=":material/broken_image:")
        return None
    if table is None:
        with st.container(border=True):
            st.markdown(
                f"**The layers of {spec.model} have not been read yet.** Planning needs their shapes and spectra"
                + (", here those of their outputs on the calibration images." if spec.calibrated else ".")
            )
            if st.button("Read the layers", type="primary", icon=":material/layers:"):
                submit(Request("layers", spec, offers.allowed))
                st.rerun()
    return table


def _plan(spec: RunSpec, choices: Choices, context: str) -> tuple[RankRule | None, Plan] | None:
    """The rule and the plan that follows from it; None where it cannot be made, with the reason on the page."""
    try:
        rule = _rule(spec, choices, context)
        plan = catalog.plan(spec, choices.method, rule)
    except TDQError as error:
        st.warning(text.on_screen(str(error)), icon=":material/block:")
        return None
    st.session_state["planned"] = (context, hand_from(plan))
    return rule, plan


def _rule(spec: RunSpec, choices: Choices, context: str) -> RankRule | None:
    if choices.method == "none":
        return None
    if choices.rule == "manual":
        return hand_rule(_hand(spec, choices.method, context))
    return RankRule(choices.rule, choices.value, keep_ends=choices.keep_ends, **choices.sharing)


def _hand(spec: RunSpec, method: str, context: str) -> Hand:
    """The ranks by hand of this model and method; at first those of the default ratio."""
    hands: dict[str, Hand] = st.session_state.setdefault("hand", {})
    if context not in hands:
        hands[context] = {}
        with contextlib.suppress(Refused):  # a ratio out of reach: every layer is left alone at first
            hands[context] = hand_from(catalog.plan(spec, method, RankRule("ratio", DEFAULT_RATIO)))
    return hands[context]


def _costs_and_run(
    spec: RunSpec, offers: Offers, choices: Choices, planned: tuple[RankRule | None, Plan] | None, table: LayerTable
) -> None:
    *tiles, right = st.columns([2, 2, 2, 1], vertical_alignment="center")
    if planned:
        plan = planned[1]
        size = planned_bytes(plan, choices.settings["precision"])
        tiles[0].metric("Planned params", text.count(plan.params), help=f"{plan.params:,} of {table.params:,}")
        tiles[0].caption(text.both_ways(plan.compression_ratio))
        tiles[1].metric("Planned MACs per image", text.count(plan.macs), help=f"{plan.macs:,} of {table.macs:,}")
        tiles[1].caption(text.both_ways(table.macs / plan.macs))
        tiles[2].metric(
            "Planned bytes, weights only",
            text.file_size(size),
            help=f"{size:,} bytes; a file also holds the graph and scales.",
        )
        tiles[2].caption(text.both_ways(4 * table.params / size))
    if right.button("Run", type="primary", icon=":material/play_arrow:", width="stretch", disabled=planned is None):
        wanted = offers.model(st.session_state["model"]).spec(
            offers.images(spec.data),
            samples=spec.samples,
            method=choices.method,
            rule=planned[0] if planned else None,
            **choices.settings,
        )
        submit(Request("run", wanted, offers.allowed))
        st.rerun()
