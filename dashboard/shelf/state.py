"""What is chosen, and its place in the URL: a copied address opens the same view.

Each function below is called where its widget is made: it settles the widget's value (what was chosen in this
session, else what the URL says, else the default), writes it into the URL unless it is the default, and returns the
widget's arguments. What the URL says counts only where it is one of the options: it can name, never make, a choice.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import streamlit as st

RULES = {"ratio": "ratio", "energy": "kept energy", "vbmf": "VBMF", "manual": "by hand"}
DEFAULT_RATIO = 2.0
_SEPARATOR = ","


class Subject(NamedTuple):
    """What is measured: keys of offers, and how many images (None: all)."""

    model: str
    data: str
    samples: int | None


def choice(key: str, options: Sequence[str], *, default: str | None = None) -> dict[str, Any]:
    """For a widget that chooses one of `options`; None: the first one is the default."""
    default = options[0] if default is None else default
    return _settle(key, default, lambda text: text, lambda value: value in options)


def record_choice(key: str, options: Sequence[str], *, default: str | None = None) -> dict[str, Any]:
    """The same among runs or groups of them: always in the URL, for the default changes with every new run."""
    arguments = choice(key, options, default=default)
    _to_url(key, st.session_state[key], None)
    return arguments


def choices(key: str, options: Sequence[str], *, default: Sequence[str] = ()) -> dict[str, Any]:
    """For a widget that chooses some of `options`; what is no longer among them is dropped."""
    if kept := [v for v in st.session_state.get(key) or () if v in options]:
        st.session_state[key] = kept
    arguments = _settle(key, list(default), _words, lambda values: all(v in options for v in values))
    if default:  # it changes with every new run: a copied address keeps what is seen
        _to_url(key, st.session_state[key], [])
    return arguments


def number(key: str, default: float | None, low: float, high: float) -> dict[str, Any]:
    """For a widget with a number in [low, high], whole where `low` is an int; None: nothing is entered."""
    return _settle(key, default, type(low), lambda value: value is None or low <= value <= high)


def flag(key: str, default: bool) -> dict[str, Any]:
    """For a switch."""
    return _settle(key, default, lambda text: text == "True", lambda value: isinstance(value, bool))


def _words(text: str) -> list[str]:
    return text.split(_SEPARATOR) if text else []


def _settle(key: str, default: Any, parse: Callable[[str], Any], fits: Callable[[Any], bool]) -> dict[str, Any]:
    if key not in st.session_state:
        st.session_state[key] = _from_url(key, parse, default)
    if not fits(st.session_state[key]):
        st.session_state[key] = default
    _to_url(key, st.session_state[key], default)
    return {"key": key, "persist_state": "session"}


def _from_url(key: str, parse: Callable[[str], Any], default: Any) -> Any:
    try:
        return parse(st.query_params[key]) if key in st.query_params else default
    except ValueError:
        return default


def _to_url(key: str, value: Any, default: Any) -> None:
    if value == default:
        st.query_params.pop(key, None)
        return
    text = _SEPARATOR.join(value) if isinstance(value, list) else str(value)
    if st.query_params.get(key) != text:
        st.query_params[key] = text


def forget(*keys: str) -> None:
    """Drop choices that depend on another one that has just changed."""
    for key in keys:
        st.session_state.pop(key, None)
        st.query_params.pop(key, None)


def show_run(run_id: str) -> None:
    """Make this run the one that is shown from the next rerun on (a rendered widget must not be set)."""
    st.session_state["next_run"] = run_id


def take_next_run() -> str | None:
    return st.session_state.pop("next_run", None)


def show_study(study_id: str) -> None:
    """The same for a study of components."""
    st.session_state["next_study"] = study_id


def take_next_study() -> str | None:
    return st.session_state.pop("next_study", None)


def show_recipe(recipe_id: str) -> None:
    """The same for a recipe."""
    st.session_state["next_recipe"] = recipe_id


def take_next_recipe() -> str | None:
    return st.session_state.pop("next_recipe", None)
