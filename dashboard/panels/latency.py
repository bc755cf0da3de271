"""What a plan takes on this machine, where its layers were timed; where time is what counts, how to time them."""

import streamlit as st

from dashboard.facts.draft import Draft
from dashboard.panels.jobs import start_button, submit
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.words.speed import told_time
from tdq_core.errors import TDQError
from tdq_core.jobs.queue import Request
from tdq_core.prediction.layer_times import plans_by_time, time_of
from tdq_core.ranks.plan import Plan

_HELP = (
    "Every layer, dense and in every form at a grid of ranks, in ONNX Runtime here: some minutes, once for a "
    "network and a precision. Plans are then told in milliseconds, and a ratio can be one of time."
)


def latency(draft: Draft, plan: Plan | None, offers: Offers) -> None:
    """A line, or nothing where nobody has asked for times."""
    try:
        spec = draft.spec()
    except TDQError:  # said where the plan is made
        return
    found = catalog.times(spec)
    if found is None:
        if plans_by_time(spec):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.caption("**Latency**: the layers were not timed on this machine yet.")
                if offers.why_not(spec):
                    return  # the Run button says why
                if start_button("Time the layers", spec, offers, icon=":material/timer:", help=_HELP):
                    submit(Request(kind="layer_times", spec=spec, allowed_models=offers.allowed))
                    st.rerun()
        return
    took = time_of(found, plan.layers) if plan else None
    if took:
        st.caption(told_time(took, found.dense_ns, str(found.conditions)))
