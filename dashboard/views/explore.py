"""What does a smaller network cost? One window: the chart of what was measured and is predicted, beside the plan."""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.head import here
from dashboard.panels.jobs import job_panel
from dashboard.panels.planner import planner
from dashboard.panels.results import chart, choose_run, shown_run
from dashboard.shelf import catalog
from dashboard.words.glossary import OPENING

now = here()
with st.container(key="beside-words"):
    said, words = st.columns([9, 1], vertical_alignment="center")
said.markdown(OPENING)
with words:
    blocks.link("glossary", "The words")
job_panel(now.runs)
chosen = choose_run(now.subject)
with st.container(key="beside"):
    left, right = st.columns([4, 3], gap="medium")
with left:
    drawn = chart(now.subject, now.runs, catalog.known_layers(now.spec))
with right:
    planner(now, drawn, catalog.predictor(now.spec, now.runs))
shown_run(now.subject, chosen, now.offers)
