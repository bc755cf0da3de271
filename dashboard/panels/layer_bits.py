"""Bits of weights by hand: a slider for each layer, and one for all layers that are shown."""

from collections.abc import Sequence

import streamlit as st

from dashboard.facts.draft import MANUAL, Draft, with_bits
from dashboard.facts.planning import HandBits, shown_bits
from dashboard.shelf.state import held_draft, hold, number
from dashboard.words.markup import plain
from tdq_core.layers.table import Layer
from tdq_core.ranks.plan import LayerPlan
from tdq_core.specs.bits import FEWEST_BY_HAND, MOST_BY_HAND

WIDTH = 125
"""Of a layer's slider."""
_USUAL = 4
_ALL = "shown_bits"


def bits_slider(planned: LayerPlan, draft: Draft) -> None:
    """Of one layer."""
    name, key = planned.layer.name, f"bits:{draft.place}:{planned.layer.name}"
    bits = shown_bits(planned, draft.precision)
    if st.session_state.get(key) != bits:
        st.session_state[key] = bits
    st.slider(
        f"bits, {plain(name)}", FEWEST_BY_HAND, MOST_BY_HAND, key=key, on_change=_moved, args=(name, key), width=WIDTH,
    )  # fmt: skip


def bits_of_many(group: Sequence[Layer]) -> None:
    """The same bits for all layers of a group but the ends of the network."""
    inner = [layer for layer in group if not layer.end]
    st.slider(
        "Bits of weights", FEWEST_BY_HAND, MOST_BY_HAND, width=150,
        **number(_ALL, _USUAL, FEWEST_BY_HAND, MOST_BY_HAND),
    )  # fmt: skip
    st.button(
        f"Give to {len(inner)} shown", on_click=_give, args=(inner,), disabled=not inner, key="give_bits",
        help="Sets the bits of the layers of this group by hand. The first and the last layer of the network have "
        "sliders of their own; where they are decomposed, their outermost weight keeps 8.",
    )  # fmt: skip


def _set(bits: HandBits) -> None:
    """These bits by hand; the control of bits follows."""
    if draft := held_draft():
        hold(with_bits(draft, bits))
        st.session_state["bits"] = MANUAL


def _moved(name: str, key: str) -> None:
    _set({name: st.session_state[key]})


def _give(group: Sequence[Layer]) -> None:
    _set({layer.name: st.session_state[_ALL] for layer in group})
