"""What is the smallest model that keeps its accuracy, and how is it made?"""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.jobs import job_panel
from dashboard.panels.recipe import choose_recipe, show_recipe
from dashboard.panels.subject import choose_subject, spec_of

offers = blocks.offers_or_stop()
subject = choose_subject(offers)
st.title("Recipe")
st.markdown(
    "Name a target: the study's pipeline and TDQ's own are followed along their ratios, in INT8 through ONNX Runtime, "
    "until each just meets it. Choices look at every other image; the images between verify them."
)
runs = blocks.all_runs()
job_panel(runs)
report = choose_recipe(spec_of(subject, offers), offers)
if report is not None:
    show_recipe(report, runs)
