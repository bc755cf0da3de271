"""The study's figures, measured: an address for each of them."""

import streamlit as st

from cached_runs.study import NETWORKS
from dashboard.facts.study_views import VIEWS
from dashboard.panels import blocks
from dashboard.panels.controls import side_by_side
from dashboard.panels.study import show_view
from dashboard.shelf import catalog
from dashboard.shelf.state import record_choice

st.title("Study")
st.markdown(
    "Decomposition and quantization of the same networks, measured on CIFAR-10 (JPEG copy). The address in the "
    "browser leads back to the figure that is shown."
)
by_model = catalog.study_runs(blocks.all_runs())
models = sorted(NETWORKS, key=lambda m: -len(by_model[m]))
titles = {v.key: v.title for v in VIEWS}
figure = side_by_side("Figure", titles, record_choice("figure", list(titles)))
view = next(v for v in VIEWS if v.key == figure)
model = st.selectbox(
    "Network", models, width=420, disabled=view.of_all,
    format_func=lambda m: f"{m}: {len(by_model[m])} runs", **record_choice("network", models),
)  # fmt: skip
show_view(view, model, by_model)
