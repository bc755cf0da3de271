"""What is chosen, and its place in the URL: a copied address opens the same view.

Each function below is called where its widget is made: it settles the widget's value (what was chosen in this
session, else what the URL says, else the default), writes it into the URL unless it is the default, and returns the
widget's arguments. What the URL says counts only where it is one of the options: it can name, never make, a choice.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import streamlit as st

from dashboard.facts.draft import Draft
from tdq_core.jobs.queue import Made

_SEPARATOR = ","


class Subject(NamedTuple):
    """What is measured: keys of offers, and how many images (None: all)."""

    model: str
    data: str
    samples: int | None


class Arguments(TypedDict):
    """Of a widget whose value is kept in the session."""

    key: str
    persist_state: Literal["session"]


class Setting(NamedTuple):
    """One choice, with its place in the session and in the URL.

    Attributes:
        parse: from the URL's text; ValueError where it is none.
        fits: whether a value is one that can be chosen.
    """

    key: str
    default: Any
    parse: Callable[[str], Any]
    fits: Callable[[Any], bool]

    def value(self) -> Any:
        """What it is now, whether its widget is there or not; nothing is written."""
        value = st.session_state[self.key] if self.key in st.session_state else self._from_url()
        return value if self.fits(value) else self.default

    def settle(self) -> Arguments:
        """Write what it is into the session and the URL; the arguments of its widget."""
        st.session_state[self.key] = value = self.value()
        _to_url(self.key, value, self.default)
        return {"key": self.key, "persist_state": "session"}

    def _from_url(self) -> Any:
        try:
            return self.parse(st.query_params[self.key]) if self.key in st.query_params else self.default
        except ValueError:
            return self.default


def one_of(key: str, options: Sequence[str], *, default: str | None = None) -> Setting:
    """One of `options`; None: the first one is the default."""
    return Setting(key, options[0] if default is None else default, str, lambda value: value in options)


def number_in(key: str, default: float | None, low: float, high: float) -> Setting:
    """A number in [low, high], whole where `low` is an int; where the default is None, it may be left out."""
    kind = type(low)

    def fits(value: Any) -> bool:
        if value is None:
            return default is None
        return isinstance(value, int | float) and low <= value <= high

    return Setting(key, default, kind, fits)


def switch(key: str, default: bool) -> Setting:
    return Setting(key, default, lambda text: text == "True", lambda value: isinstance(value, bool))


def words(key: str, default: str) -> Setting:
    """A text."""
    return Setting(key, default, str, lambda value: isinstance(value, str))


def choice(key: str, options: Sequence[str], *, default: str | None = None) -> Arguments:
    """For a widget that chooses one of `options`; None: the first one is the default."""
    return one_of(key, options, default=default).settle()


def record_choice(key: str, options: Sequence[str], *, default: str | None = None) -> Arguments:
    """The same among runs or groups of them: always in the URL, for the default changes with every new run."""
    arguments = choice(key, options, default=default)
    _to_url(key, st.session_state[key], None)
    return arguments


def choices(key: str, options: Sequence[str], *, default: Sequence[str] = ()) -> Arguments:
    """For a widget that chooses some of `options`; what is no longer among them is dropped."""
    if kept := [v for v in st.session_state.get(key) or () if v in options]:
        st.session_state[key] = kept
    fits: Callable[[Any], bool] = lambda values: all(v in options for v in values)  # noqa: E731
    arguments = Setting(key, list(default), _split, fits).settle()
    if default:  # it changes with every new run: a copied address keeps what is seen
        _to_url(key, st.session_state[key], [])
    return arguments


def number(key: str, default: float | None, low: float, high: float) -> Arguments:
    """For a widget with a number in [low, high], whole where `low` is an int; None: nothing is entered."""
    return number_in(key, default, low, high).settle()


def flag(key: str, default: bool) -> Arguments:
    """For a switch."""
    return switch(key, default).settle()


def _split(text: str) -> list[str]:
    return text.split(_SEPARATOR) if text else []


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


def show(made: Made) -> None:
    """Make this run, study or recipe the one that is shown from the next rerun on (a rendered widget must not be
    set)."""
    st.session_state[f"next_{made.kind}"] = made.id


def take_next(kind: str) -> str | None:
    """The id of the 'run', 'study' or 'recipe' that is to be shown from now on, once; None: as it is."""
    found: str | None = st.session_state.pop(f"next_{kind}", None)
    return found


def held_draft() -> Draft | None:
    """The run that is being planned in this session."""
    found: Draft | None = st.session_state.get("draft")
    return found


def hold(draft: Draft) -> Draft:
    """Keep the draft as the session's; returns it."""
    st.session_state["draft"] = draft
    return draft
