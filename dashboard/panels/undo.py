"""Undo and redo of the plan."""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from dashboard.facts.draft import Draft
from dashboard.facts.history import History, redone, seen, undone
from dashboard.panels.choices import PLAN_KEYS
from dashboard.shelf.state import held_draft, hold

_KEY = "plan_history"


def remember(draft: Draft) -> History:
    """The plan is on the page: a step more where it has changed."""
    controls = {key: st.session_state[key] for key in PLAN_KEYS if key in st.session_state}
    history = seen(st.session_state.get(_KEY), draft, controls)
    st.session_state[_KEY] = history
    return history


def undo_and_redo(history: History) -> None:
    """Two buttons."""
    for label, icon, can, step in (
        ("Undo", ":material/undo:", history.can_undo, undone),
        ("Redo", ":material/redo:", history.can_redo, redone),
    ):
        st.button(
            icon, key=f"plan-{label.lower()}", disabled=not can, help=f"{label} the last change of the plan",
            on_click=_go, args=(step,),
        )  # fmt: skip


def _go(step: Callable[[History], History]) -> None:
    history = step(st.session_state[_KEY])
    st.session_state[_KEY] = history
    was, controls = history.past[-1]
    st.session_state.update(controls)
    if draft := held_draft():
        hold(replace(draft, hands=was.hands, bits=was.bits))
