"""The study's figures, measured: an address for each of them."""

import streamlit as st

from cached_runs.study import DATA, NETWORKS
from dashboard.facts.study_views import ELSEWHERE, VIEWS
from dashboard.facts.subject import name_of
from dashboard.pages import page
from dashboard.panels import blocks
from dashboard.panels.controls import side_by_side
from dashboard.panels.head import here
from dashboard.panels.study import show_view
from dashboard.shelf import catalog
from dashboard.shelf.state import choice, in_address
from tdq_core.specs import ModelSpec

now = here()
if (asked := in_address("figure")) in ELSEWHERE:
    st.info("This figure answers a question of its own, and has a page for it.", icon=":material/arrow_forward:")
    blocks.link(ELSEWHERE[asked], page(ELSEWHERE[asked]).question)
    blocks.link("study", "The study's other figures")
    st.stop()
titles = {v.key: v.title for v in VIEWS}
figure = side_by_side("Figure", titles, choice("figure", list(titles)))
view = next(v for v in VIEWS if v.key == figure)
by_model = catalog.study_runs(now.runs)
network = now.subject.network
if network is None and not view.of_all:
    if not any(by_model.values()):
        blocks.nothing_yet("No run of the study's networks is here.")
    st.info(
        "The study's networks are on CIFAR-10 (JPEG copy); this is none of them. Choose one here or above.",
        icon=":material/science:",
    )
    for model in NETWORKS:
        if by_model[model]:
            key = name_of(ModelSpec(model), DATA, NETWORKS[model])
            blocks.link("study", f"{model}: {len(by_model[model])} runs", query={"subject": key})
    st.stop()
show_view(view, network or next(iter(NETWORKS)), by_model)
