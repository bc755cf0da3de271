"""Plan a run: ranks by the rule or by hand, what it would cost, and the Run button."""

import contextlib
from dataclasses import replace

import streamlit as st

from dashboard.facts.draft import DEFAULT_RATIO, Draft, as_planned, bits_by_hand, on_table, started_by_hand
from dashboard.facts.foreseen import as_foreseen
from dashboard.facts.hand_address import bits_of, bits_text, hand_of, hand_text
from dashboard.facts.planning import hand_from, takes_bits, untouched
from dashboard.figures.live import live
from dashboard.panels import ranks
from dashboard.panels.choices import choose
from dashboard.panels.costs import PREDICTED, budget_strip
from dashboard.panels.head import Here
from dashboard.panels.jobs import start_button, submit
from dashboard.panels.latency import latency
from dashboard.panels.results import Drawn
from dashboard.panels.sweeping import curve_button
from dashboard.panels.targets import settle_bounds, targets_button
from dashboard.panels.undo import remember, undo_and_redo
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import fragment, has_moved, hold, in_address, tell, to_address
from dashboard.words import text
from dashboard.words.markup import plain
from dashboard.words.palette import look_of
from tdq_core.errors import Refused, TDQError
from tdq_core.jobs.queue import Request
from tdq_core.layers.table import LayerTable
from tdq_core.prediction.allocation import shares_by_changes
from tdq_core.prediction.layer_times import plans_by_time
from tdq_core.prediction.predictor import Predictor
from tdq_core.ranks.plan import Plan, lacks
from tdq_core.specs import RankRule, RunSpec

_RANKS, _BITS = "ranks", "layer_bits"
HEIGHT = 440
"""Of the controls, which scroll, so that what they change stays in sight."""


@fragment
def planner(now: Here, drawn: Drawn | None, predictor: Predictor | None) -> None:
    """From the choice of a method to the Run button; a moved control draws this anew and what lies over the chart, and
    nothing else of the page."""
    spec, offers = now.spec, now.offers
    strip, bar, told = st.container(key="strip"), st.container(horizontal=True, gap="small"), st.container()
    with st.container(height=HEIGHT, key="plan"):
        draft = choose(spec, foretold=predictor is not None)
        try:
            read_for = draft.read_for()
        except TDQError as error:
            st.warning(plain(text.on_screen(str(error))), icon=":material/block:")
            return
        table = _table_or_button(draft, read_for, offers)
        if table is None:
            return
        draft = on_table(draft, catalog.table_name(read_for))
        draft = hold(_with_hand(_as_addressed(_bits_addressed(draft, table), table), read_for))
        _into_the_address(draft, table)
        plan = _plan(draft, read_for)
        if plan:
            draft = hold(as_planned(draft, hand_from(plan), plan.bits))
        sliders = st.container()
    bounds = settle_bounds()
    if plan:
        found = predictor.predict(draft.spec(), plan.layers, images=spec.images.samples) if predictor else None
        with strip:
            budget_strip(plan, table, draft.precision, found, bounds)
        if drawn:
            curve = catalog.curve(draft.spec(), predictor, now.subject.runs, table.params)
            here = as_foreseen(found, draft.spec(), plan, curve.files) if found else None
            drawn.over.html(live(drawn.frame, curve, here, look_of(draft.spec()).variant.colour))
    with sliders:  # last: they are many, and the point is waited for
        ranks.layers_and_sliders(table, plan or untouched(table), draft, drawn=plan is not None)
    with bar:
        undo_and_redo(remember(draft))
        if plan:
            targets_button(draft.spec(), table, predictor)
            curve_button(draft, offers)
        _run_button(draft, offers, plan)
    with told:
        if predictor is None:
            _measure_button(draft.subject, offers)
        latency(draft, plan, offers)


def _run_button(draft: Draft, offers: Offers, plan: Plan | None) -> None:
    if start_button("Run", draft.subject, offers, type="primary", icon=":material/play_arrow:", disabled=plan is None):
        submit(Request(kind="run", spec=draft.spec(), allowed_models=offers.allowed))
        st.rerun()


def _measure_button(subject: RunSpec, offers: Offers) -> None:
    """Where nothing is predicted yet: what to do about it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("**Predicted drop**: not yet; it takes one measurement.")
        if offers.why_not(subject):
            return  # the Run button says why
        if start_button("Measure the layers", subject, offers, icon=":material/query_stats:", help=PREDICTED):
            submit(Request(kind="sensitivity", spec=subject, allowed_models=offers.allowed))
            st.rerun()


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


def _as_addressed(draft: Draft, table: LayerTable) -> Draft:
    """With the ranks by hand that the address names; what these layers cannot have is told."""
    if not has_moved(_RANKS):
        return draft
    named = in_address(_RANKS)
    if named is None:  # by hand they are then those that ranks by hand start from
        return replace(draft, hands={}) if draft.by_hand else draft
    hand = hand_of(named, table.layers, draft.method) if draft.by_hand and draft.method != "none" else None
    if hand is None:
        tell(_RANKS, named)
        return draft
    return started_by_hand(draft, hand)


def _bits_addressed(draft: Draft, table: LayerTable) -> Draft:
    """With the bits by hand that the address names; what these layers cannot have is told."""
    if not has_moved(_BITS):
        return draft
    named = in_address(_BITS)
    if named is None:
        return bits_by_hand(draft, {}) if draft.hand_bits is not None else draft
    bits = bits_of(named, table.layers) if draft.hand_bits is not None else None
    if bits is None or not all(takes_bits(table, table.layer(name)) for name in bits):
        tell(_BITS, named)
        return draft
    return bits_by_hand(draft, bits)


def _into_the_address(draft: Draft, table: LayerTable) -> None:
    to_address(_BITS, bits_text(draft.hand_bits or {}, table.layers), "")
    to_address(_RANKS, hand_text(draft.hand or {}, table.layers) if draft.by_hand else "", "")


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
        if plans_by_time(draft.spec()):
            return catalog.plan_by_time(draft.spec(), read_for)
        if shares_by_changes(draft.spec()):
            return catalog.plan_by_changes(draft.spec())
        return catalog.plan(read_for, draft.method, draft.rule(), draft.spec().precision)
    except TDQError as error:
        st.warning(plain(text.on_screen(str(error))), icon=":material/block:")
        return None
