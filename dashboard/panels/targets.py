"""Bounds on what the plan may cost, and the other way round: from a bound to the ranks that keep it."""

import math
from collections.abc import Mapping
from functools import partial

import streamlit as st

from dashboard.facts.planning import untouched
from dashboard.facts.targets import TARGETS, ratio_for
from dashboard.shelf.state import number_in
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.errors import TDQError
from tdq_core.layers.table import LayerTable
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import Predictor
from tdq_core.specs import RunSpec

_HELP = "Bounds on this plan: each number above says whether it is kept. 'Set the ranks' makes a plan that keeps one."
Bounds = Mapping[str, float]
"""By what it bounds, in the plan's own unit; what is not bounded is not in it."""


def settle_bounds() -> Bounds:
    """The bounds that are set, whether their controls are there or not; they stand in the address."""
    found = {}
    for name, target in TARGETS.items():
        setting = number_in(target.key, None, target.least, target.most)
        setting.settle()
        if (value := setting.value()) is not None:
            found[name] = target.unit * value
    return found


def targets_button(spec: RunSpec, table: LayerTable, predictor: Predictor | None) -> None:
    """A popover with the bounds, each with a button that makes a plan for it."""
    opened = st.popover("Targets", icon=":material/target:", help=_HELP, key="targets", on_change="rerun")
    if said := st.session_state.pop("targets_said", None):
        st.warning(plain(text.on_screen(said)), icon=":material/block:")
    if not opened.open:
        return
    with opened:
        for name, target in TARGETS.items():
            with st.container(horizontal=True, vertical_alignment="bottom"):
                arguments = number_in(target.key, None, target.least, target.most).settle()
                value = st.number_input(
                    target.label, target.least, target.most, value=None, step=target.step, placeholder="any",
                    width=210, **arguments,
                )  # fmt: skip
                for_drop = name == "drop"
                why_not = "Nothing is predicted of this network yet." if for_drop and not predictor else None
                st.button(
                    "Set the ranks", key=f"set-{name}", disabled=not value or spec.method == "none" or bool(why_not),
                    help=why_not or ("The largest ratio that is predicted to keep it." if for_drop else None),
                    on_click=partial(_set, name, spec, table, predictor),
                )  # fmt: skip


def _set(name: str, spec: RunSpec, table: LayerTable, predictor: Predictor | None) -> None:
    """Controls are set before the page is drawn again: a drawn one must not be."""
    most = TARGETS[name].unit * st.session_state[TARGETS[name].key]
    if name == "drop":
        assert predictor, "else it cannot be pressed"
        try:
            rule = with_drop(predictor, spec, most).rule
        except TDQError as error:
            st.session_state["targets_said"] = str(error)
            return
        assert rule and rule.value, "a ratio was found"
        st.session_state.update(rule="ratio", policy=rule.policy, ratio=max(1.01, math.floor(100 * rule.value) / 100))
        return
    numbers = spec.precision.numbers
    file = table.files.fp32 if table.files and numbers.simulated else None
    asked = ratio_for(name, most, dense=untouched(table), precision=numbers.name, file=file)
    st.session_state.update(rule="ratio", budget=asked.budget, ratio=asked.ratio)
    if predictor:
        st.session_state["policy"] = "predicted"
