"""What does a smaller network cost? Measured runs first, then a plan for the next one."""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.head import here
from dashboard.panels.jobs import job_panel
from dashboard.panels.planner import planner
from dashboard.panels.results import results
from dashboard.words.glossary import OPENING

now = here()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    st.markdown(OPENING)
    blocks.link("glossary", "The words")
results(now.subject, now.runs, now.offers)
job_panel(now.runs)
planner(now.spec, now.offers)
