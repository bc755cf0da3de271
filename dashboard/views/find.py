"""What is the best for my budget? Measured runs answer first, then a recipe goes beyond them."""

import streamlit as st

from dashboard.panels.budget import choose_budget, show_answer
from dashboard.panels.head import here
from dashboard.panels.jobs import job_panel
from dashboard.panels.recipe import choose_recipe, show_recipe

now = here()
budget = choose_budget(now.subject)
if now.subject.runs:
    show_answer(now.subject, budget)
else:
    st.info("Nothing of this network on these images has been measured yet: a recipe below does that.")
job_panel(now.runs)
st.subheader("Beyond what was measured", anchor=False)
st.markdown(
    "A recipe follows TDQ's own pipelines and the study's along their ratios, in INT8 through ONNX Runtime, as far as "
    "each can still give the best that meets a target. Every other image chooses, the images between judge."
)
report = choose_recipe(now.subject, now.offers)
if report is not None:
    show_recipe(report, now.runs)
