"""The sidebar: which model, which images."""

import streamlit as st

from dashboard.shelf.offers import Offers
from dashboard.shelf.state import Subject, choice, forget, number
from dashboard.words.markup import plain
from tdq_core.errors import InputError
from tdq_core.specs import RunSpec

LEAST_SAMPLES = 2
"""An interval needs two images."""
_DEPENDENT = ("group", "run", "layers_shown")


def choose_subject(offers: Offers) -> Subject:
    """Widgets for model, images and their number."""
    models, data = [o.key for o in offers.models], [o.ref for o in offers.data]
    if not models:
        st.error("No model can be chosen: no registered weights are on this machine, and none was named at the start.")
        st.stop()
    with st.sidebar:
        st.subheader("Model and images")
        model = st.selectbox("Model", models, on_change=forget, args=_DEPENDENT, **choice("model", models))
        st.caption(offers.model(model).description)
        ref = st.selectbox("Images", data, on_change=forget, args=_DEPENDENT, **choice("data", data))
        samples = st.number_input(
            "Number of images",
            min_value=LEAST_SAMPLES,
            step=100,
            placeholder="all",
            help="A seeded, class-balanced subset; empty: all of them.",
            on_change=forget,
            args=_DEPENDENT,
            **number("samples", None, LEAST_SAMPLES, 10**7),
        )
        _about_the_others(offers)
    return Subject(model, ref, samples)


def _about_the_others(offers: Offers) -> None:
    with st.expander("Other models and images"):
        st.markdown(
            "Only what was at hand when the server started can be chosen. Name more after `--`:\n\n"
            "```bash\ntdq dashboard -- \\\n"
            "  --model NAME --weights FILE \\\n  --data folder:DIR\n```\n"
            "`--model` also takes `path/to/file.py:factory`; `--weights random` is for cost studies."
        )
        if offers.without_weights:
            st.caption(f"Known, but their weights are not here: {', '.join(offers.without_weights)}.")


def spec_of(subject: Subject, offers: Offers) -> RunSpec:
    """The untouched model on these images; the keys are looked up among the offers once more."""
    try:
        return offers.model(subject.model).spec(offers.images(subject.data), samples=subject.samples)
    except InputError as error:
        st.error(plain(error))
        st.stop()
