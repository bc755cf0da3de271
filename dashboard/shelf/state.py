"""What is chosen, and its place in the address: a copied address opens the same view, and *Back* undoes one step.

Each function below is called where its widget is made: it settles the widget's value, writes it into the address unless
it is the default, and returns the widget's arguments. The value is what was chosen in this session, unless the address
has changed since it was last left (a copied address, *Back*, a link): then it is what the address says, and what it
does not say is at its default. An address can name, never make, a choice; what it names and is not there is told.

Streamlit makes a step in the browser's history of every change of the address. So changes are gathered while the page
is drawn, and left in the address at its end, all at once.
"""

import contextlib
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import streamlit as st
from streamlit.runtime.scriptrunner import RerunException, get_script_run_ctx

from dashboard.facts.draft import Draft
from tdq_core.jobs.queue import Made

_SEPARATOR = ","
_SEEN, _NEXT, _TOLD = "address_seen", "address_next", "address_told"
_WHOLE, _PAGE, _PAGES = "address_whole", "address_page", "address_pages"
_SPEAKS, _LATE = "address_speaks", "address_late"
LATE = 10.0
"""Seconds within which a browser that has not heard of an address yet may send the last one."""
_LONGEST = 60
"""Characters of what an address says that are told back."""
_NONE: Any = object()
"""What cannot be read."""


class Arguments(TypedDict):
    """Of a widget whose value is kept in the session."""

    key: str
    persist_state: Literal["session"]


class Setting(NamedTuple):
    """One choice, with its place in the session and in the address.

    Attributes:
        parse: from the address's text; ValueError where it is none.
        fits: whether a value is one that can be chosen.
    """

    key: str
    default: Any
    parse: Callable[[str], Any]
    fits: Callable[[Any], bool]

    def value(self) -> Any:
        """What it is now, whether its widget is there or not; nothing is written."""
        value = self._asked() if self._is_asked() else st.session_state[self.key]
        return value if value is not _NONE and self.fits(value) else self.default

    def settle(self) -> Arguments:
        """Write what it is into the session and the address; the arguments of its widget."""
        if self._is_asked() and ((asked := self._asked()) is _NONE or not self.fits(asked)):
            tell(self.key, in_address(self.key) or "")
        st.session_state[self.key] = value = self.value()
        to_address(self.key, value, self.default)
        return {"key": self.key, "persist_state": "session"}

    def _is_asked(self) -> bool:
        return self.key not in st.session_state or has_moved(self.key)

    def _asked(self) -> Any:
        text = in_address(self.key)
        if text is None:
            return self.default
        try:
            return self.parse(text)
        except ValueError:
            return _NONE


def in_address(key: str) -> str | None:
    """What the address says, or will say at the end of this page."""
    coming: Mapping[str, str | None] = st.session_state.get(_NEXT, {})
    return coming[key] if key in coming else st.query_params.get(key)


def has_moved(key: str) -> bool:
    """Whether the address asks for something else than this session left in it."""
    seen: Mapping[str, str] = st.session_state.get(_SEEN, {})
    return address_speaks() and in_address(key) != seen.get(key)


def address_speaks() -> bool:
    """Whether what this page is drawn for is its address: a new visitor's, another page's, a link's, or an earlier one
    by *Back*; not where a control was moved."""
    found: bool = st.session_state.get(_SPEAKS, False)
    return found


def came_by_history() -> bool:
    """Whether the browser went back or forth."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _speaks(page: str) -> bool:
    """An address that is empty says nothing: it is that of a page, not of a view. One that this session left moments
    ago says nothing either: a control was moved before the browser had heard of the next one."""
    address = dict(st.query_params)
    if not address or st.session_state.get(_PAGE) != page or came_by_history():
        return bool(address)
    late: Mapping[str, float] = st.session_state.get(_LATE, {})
    return time.monotonic() - late.get(_text(address), -math.inf) > LATE


def _text(address: Mapping[str, str]) -> str:
    return repr(sorted(address.items()))


def to_address(key: str, value: Any, default: Any) -> None:
    """Write a choice into the address that this page leaves, or take it out where it is the default."""
    text = None if value == default else _SEPARATOR.join(value) if isinstance(value, list) else str(value)
    st.session_state.setdefault(_NEXT, {})[key] = text
    seen = st.session_state.setdefault(_SEEN, {})
    if text is None:
        seen.pop(key, None)
    else:
        seen[key] = text


def tell(key: str, text: str) -> None:
    """The address names something that is not there."""
    told = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    st.session_state.setdefault(_TOLD, []).append((key, told))


def take_told() -> list[tuple[str, str]]:
    """(key, text) of everything that the address named in vain, once."""
    found: dict[tuple[str, str], None] = dict.fromkeys(st.session_state.pop(_TOLD, []))
    return list(found)


@contextlib.contextmanager
def leaving_an_address(page: str) -> Iterator[None]:
    """A whole page is drawn inside; at its end its choices stand in the address."""
    st.session_state[_SPEAKS] = _speaks(page)
    st.session_state[_WHOLE] = st.session_state[_PAGE] = page
    try:
        yield
    finally:
        st.session_state.pop(_WHOLE, None)
        st.session_state.pop(_SPEAKS, None)
        if not is_drawn_again():
            _leave()


def fragment(draw: Callable[..., None]) -> Callable[..., None]:
    """`st.fragment` of a part with choices: drawn alone, it leaves them in the address as a whole page does."""

    @functools.wraps(draw)
    def alone(*args: Any, **options: Any) -> None:
        try:
            draw(*args, **options)
        finally:
            if _WHOLE not in st.session_state and not is_drawn_again():
                _leave()

    return st.fragment(alone)


def _leave() -> None:
    coming: Mapping[str, str | None] = st.session_state.pop(_NEXT, {})
    now = dict(st.query_params)
    after = {key: text for key, text in (now | dict(coming)).items() if text is not None}
    if after != now:
        st.query_params.from_dict(after)
        moment = time.monotonic()
        late = {name: when for name, when in st.session_state.get(_LATE, {}).items() if moment - when <= LATE}
        st.session_state[_LATE] = late | {_text(now): moment}
    st.session_state.setdefault(_PAGES, {})[st.session_state.get(_PAGE)] = after


def is_drawn_again() -> bool:
    """Whether the drawing is being given up for a new one, which will leave the address: it starts from the old one."""
    return isinstance(sys.exc_info()[1], RerunException)


def left_on(page: str) -> dict[str, str]:
    """The address that was last left on a page in this session."""
    found: Mapping[str, dict[str, str]] = st.session_state.get(_PAGES, {})
    return dict(found.get(page, {}))


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
    """The same among runs or the like: always in the address, for the default changes with every new run."""
    arguments = choice(key, options, default=default)
    to_address(key, st.session_state[key], None)
    return arguments


def choices(key: str, options: Sequence[str], *, default: Sequence[str] = ()) -> Arguments:
    """For a widget that chooses some of `options`; what is not among them is dropped, and told where the address names
    it."""
    named = in_address(key) if key not in st.session_state or has_moved(key) else None
    usual = list(default)
    wanted = _split(named) if named is not None else usual if has_moved(key) else st.session_state.get(key, usual)
    kept = [v for v in wanted if v in options]
    for one in wanted if named is not None else ():
        if one not in options:
            tell(key, one)
    st.session_state[key] = usual if wanted and not kept else kept
    to_address(key, st.session_state[key], None if default else [])
    return {"key": key, "persist_state": "session"}


def number(key: str, default: float | None, low: float, high: float) -> Arguments:
    """For a widget with a number in [low, high], whole where `low` is an int; None: nothing is entered."""
    return number_in(key, default, low, high).settle()


def flag(key: str, default: bool) -> Arguments:
    """For a switch."""
    return switch(key, default).settle()


def _split(text: str) -> list[str]:
    return text.split(_SEPARATOR) if text else []


def forget(*keys: str) -> None:
    """Drop choices that depend on another one that has just changed."""
    for key in keys:
        st.session_state.pop(key, None)
        to_address(key, None, None)


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
