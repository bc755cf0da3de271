"""Why does INT8 fail? At the ratio where it fails: which layer loses, what its components do, and what mends it."""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.components import HOW_IT_FAILS, choose_study, show_failure, show_study
from dashboard.panels.head import here
from dashboard.panels.jobs import job_panel

now = here()
job_panel(now.runs)
failure = show_failure(now.subject)
if failure is None:
    st.info(
        "CP has not been measured in INT8, without conditioning, and in FP32 at one ratio on this network and these "
        "images: those two runs show what is lost. The components can be looked into all the same.",
        icon=":material/science:",
    )
    st.markdown(HOW_IT_FAILS)
st.subheader("3. The components of a layer", anchor=False)
study = choose_study(now.subject, now.offers, failure)
if study is not None:
    show_study(study, now.subject.runs)
    blocks.link("study", "What INT8 takes at every ratio: page Study", query={"figure": "cp-int8"})
