"""Why does INT8 fail? At the ratio where it fails: which layer loses, what its components do, and what mends it."""

import streamlit as st

from dashboard.panels import blocks
from dashboard.panels.components import choose_study, show_failure, show_study
from dashboard.panels.head import here
from dashboard.panels.jobs import job_panel

now = here()
st.markdown(
    "CP writes a kernel as a sum of R components. Least squares (ALS) may make them large and let them cancel each "
    "other: harmless in floating point, not on the coarse grid of INT8. Error-preserving correction (EPC) makes them "
    "small at nearly the same error; equalising balances the ranges inside the layer."
)
job_panel(now.runs)
if not show_failure(now.subject):
    st.info(
        "CP has not been measured in INT8, without conditioning, and in FP32 at one ratio on this network and these "
        "images: those two runs show what is lost. The components can be looked into all the same.",
        icon=":material/science:",
    )
st.subheader("3. The components of a layer", anchor=False)
study = choose_study(now.subject, now.offers)
if study is not None:
    st.caption("Looked into at a ratio of its own, which stands beside it: not always that of 1 and 2 above.")
    show_study(study, now.subject.runs)
    blocks.link("study", "What INT8 takes at every ratio: page Study", query={"figure": "cp-int8"})
