"""What is chosen, and its place in the URL: a copied address opens the same view.

Widgets bound with `in_url` keep their value in the query string under their key; Streamlit ignores a value in the
URL that is not among a widget's options. What comes back is looked up again before it is used (see `offers`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

RULES = {"ratio": "parameter ratio", "energy": "kept energy", "vbmf": "VBMF", "manual": "by hand"}
DEFAULT_RATIO = 2.0


class Subject(NamedTuple):
    """What is measured: keys of offers, and how many images (None: all)."""

    model: str
    data: str
    samples: int | None


def in_url(key: str) -> dict[str, Any]:
    """Arguments of a widget whose value is part of the address."""
    return {"key": key, "bind": "query-params"}


def keep_valid(key: str, options: Sequence[Any]) -> None:
    """Forget a choice that is no longer offered, so that the widget falls back to its default."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]


def forget(*keys: str) -> None:
    """Drop choices that depend on another one that has just changed."""
    for key in keys:
        st.session_state.pop(key, None)


def show_run(run_id: str) -> None:
    """Make this run the one that is shown from the next rerun on (a rendered widget must not be set)."""
    st.session_state["next_run"] = run_id


def take_next_run() -> str | None:
    return st.session_state.pop("next_run", None)
