"""Measured trade-offs of one model, and a plan for the next run."""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.jobs import job_panel
from dashboard.panels.planner import planner
from dashboard.panels.results import results
from dashboard.panels.subject import choose_subject, spec_of

offers = blocks.offers_or_stop()
subject = choose_subject(offers)
st.title("Accuracy against size")
shelf = blocks.shelf_with_warnings()
st.page_link("views/study.py", label="The study's networks, measured: page Study", icon=":material/science:")
results(shelf, spec_of(subject, offers))
job_panel(shelf)
planner(subject, offers)
