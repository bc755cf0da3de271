"""What CP's components look like before INT8, and what EPC and equalising make of them."""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.components import choose_study, show_study
from dashboard.panels.jobs import job_panel
from dashboard.panels.subject import choose_subject, spec_of

offers = blocks.offers_or_stop()
subject = choose_subject(offers)
st.title("Components")
st.markdown(
    "CP writes a kernel as a sum of R components. Alternating least squares (ALS) may make them large and let them "
    "cancel each other: in floating point that is harmless, on the coarse grid of INT8 it is not. Error-preserving "
    "correction (EPC) makes them small at nearly the same error; equalising then balances the ranges inside the layer "
    "without changing what it computes."
)
runs = blocks.all_runs()
job_panel(runs)
study = choose_study(spec_of(subject, offers), offers)
if study is not None:
    show_study(study, runs.values)
