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
runs = blocks.all_runs()
blocks.link("study", "The study's networks, measured: page Study")
results(runs, spec_of(subject, offers), offers)
job_panel(runs)
planner(subject, offers)
