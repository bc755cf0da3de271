"""Plan a run: ranks by the rule or by hand, what it would cost, and the Run button."""

import contextlib

import streamlit as st

from dashboard.facts.draft import DEFAULT_RATIO, Draft, as_planned, on_table, started_by_hand
from dashboard.facts.planning import hand_from, planned_bytes, untouched
from dashboard.panels import ranks
from dashboard.panels.choices import choose
from dashboard.panels.jobs import start_button, submit
from dashboard.panels.prediction import chart, prediction
from dashboard.panels.sweeping import curve_button
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import fragment, hold
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.errors import Refused, TDQError
from tdq_core.jobs.queue import Request
from tdq_core.layers.table import LayerTable
from tdq_core.prediction.allocation import shares_by_changes
from tdq_core.ranks.plan import Plan, lacks
from tdq_core.specs import RankRule, RunSpec


@fragment
def planner(spec: RunSpec, offers: Offers) -> None:
    """Everything from the choice of a method to the Run button, for the untouched network `spec`."""
    st.subheader(f"Plan a run of {plain(spec.model.name)}", anchor=False)
    draft = choose(spec)
    try:
        read_for = draft.read_for()
    except TDQError as error:
        st.warning(plain(text.on_screen(str(error))), icon=":material/block:")
        return
    table = _table_or_button(draft, read_for, offers)
    if table is None:
        return
    draft = hold(_with_hand(on_table(draft, catalog.table_name(read_for)), read_for))
    plan = _plan(draft, read_for)
    if plan:
        draft = hold(as_planned(draft, hand_from(plan)))
    _costs_and_run(draft, offers, plan, table)
    if plan:
        chart(draft.spec(), plan)
    ranks.layer_table_and_sliders(table, plan or untouched(table), draft, drawn=plan is not None)


def _table_or_button(draft: Draft, spec: RunSpec, offers: Offers) -> LayerTable | None:
    """The table that is there and holds what the plan needs; else a button that reads the layers."""
    try:
        table = catalog.layer_table(spec)
        if table and _lacks(table, draft):
            table = None
    except TDQError as error:
        st.warning(plain(error), icon=":material/broken_image:")
        table = None
    if table is None:
        with st.container(border=True):
            name = plain(spec.model.name)
            st.markdown(
                f"**The layers of {name} have not been read yet.** Planning needs their shapes and spectra"
                + (", here those of their outputs on the calibration images." if spec.calibrated else ".")
            )
            if start_button(
                "Read the layers", spec, offers, images=spec.calibrated, type="primary", icon=":material/layers:"
            ):
                submit(Request(kind="layers", spec=spec, allowed_models=offers.allowed))
                st.rerun()
    return table


def _lacks(table: LayerTable, draft: Draft) -> bool:
    with contextlib.suppress(TDQError):  # what cannot go together is said where the plan is made
        return lacks(table, draft.rule(), draft.spec().precision)
    return False


def _with_hand(draft: Draft, read_for: RunSpec) -> Draft:
    """Where ranks are chosen by hand and there are none in this place yet: those of the default ratio."""
    if not draft.by_hand or draft.hand is not None or draft.method == "none":
        return draft
    with contextlib.suppress(Refused):
        plan = catalog.plan(read_for, draft.method, RankRule("ratio", DEFAULT_RATIO))
        return started_by_hand(draft, hand_from(plan))
    return started_by_hand(draft, {})  # the ratio is out of reach: every layer is left alone at first


def _plan(draft: Draft, read_for: RunSpec) -> Plan | None:
    """The plan that follows from the draft; None where it cannot be made, with the reason on the page."""
    try:
        if shares_by_changes(draft.spec()):
            return catalog.plan_by_changes(draft.spec())
        return catalog.plan(read_for, draft.method, draft.rule(), draft.spec().precision)
    except TDQError as error:
        st.warning(plain(text.on_screen(str(error))), icon=":material/block:")
        return None


def _costs_and_run(draft: Draft, offers: Offers, plan: Plan | None, table: LayerTable) -> None:
    *tiles, foreseen, right = st.columns([2, 2, 2, 3, 1], vertical_alignment="center")
    if plan:
        with foreseen:
            prediction(draft.spec(), plan, offers)
        size = plan.bytes or planned_bytes(plan, draft.precision)
        told = "of the whole file" if plan.bytes else "a file also holds the graph and scales"
        tiles[0].metric("Planned params", text.count(plan.params), help=f"{plan.params:,} of {table.params:,}")
        tiles[0].caption(text.both_ways(plan.compression_ratio))
        tiles[1].metric("Planned MACs per image", text.count(plan.macs), help=f"{plan.macs:,} of {table.macs:,}")
        tiles[1].caption(text.both_ways(table.macs / plan.macs if plan.macs else 1.0))
        tiles[2].metric(
            "Planned bytes" if plan.bytes else "Planned bytes, weights only",
            text.file_size(size),
            help=f"{size:,} bytes; {told}.",
        )
        dense = table.files.fp32 if plan.bytes and table.files else 4 * table.params
        tiles[2].caption(text.both_ways(dense / size))
    with right:
        pressed = start_button(
            "Run", draft.subject, offers, type="primary", icon=":material/play_arrow:", disabled=plan is None
        )
    if pressed:
        submit(Request(kind="run", spec=draft.spec(), allowed_models=offers.allowed))
        st.rerun()
    if plan:
        curve_button(draft, offers)
