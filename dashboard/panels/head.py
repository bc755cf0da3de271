"""What stands over every page: the row of pages, the page's question, and its subject, chosen nowhere else."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.navigation.page import StreamlitPage

from dashboard.facts.chance import at_chance
from dashboard.facts.groups import group_runs
from dashboard.facts.subject import DEPENDENT, Subject, subjects_of
from dashboard.pages import PAGES, Page
from dashboard.panels import blocks
from dashboard.panels.openings import opening
from dashboard.panels.subject import KEY, choose_subject, current_subject
from dashboard.shelf import catalog
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import is_drawn_again, leaving_an_address, left_on, take_told
from dashboard.words.markup import plain
from tdq_core.errors import TDQError
from tdq_core.records.store import RUNS
from tdq_core.specs import RunSpec

_HERE = "here"


class Here(NamedTuple):
    """What a page is about: everything that it shows belongs to `subject`."""

    subject: Subject
    runs: Runs
    offers: Offers

    @property
    def spec(self) -> RunSpec:
        """The untouched network on these images."""
        return self.subject.spec


@contextlib.contextmanager
def under_its_head(page: Page, place: StreamlitPage) -> Iterator[None]:
    """A page is drawn inside, beneath its head; at its end the address says what it shows. `place`: where the browser
    is, for the first page answers at two addresses, its own and the empty one."""
    with leaving_an_address(page.address):
        in_vain = _head(page, place)
        try:
            yield
        finally:
            if not is_drawn_again():
                with in_vain:
                    _tell_in_vain()


def here() -> Here:
    """What the page that is being drawn is about."""
    found: Here = st.session_state[_HERE]
    return found


def _head(page: Page, place: StreamlitPage) -> DeltaGenerator:
    """Draws it; returns the place for what the address names and is not there."""
    try:
        offers = catalog.offers()
    except TDQError as error:
        _row_of_pages(page, place, None)
        st.error(plain(error), icon=":material/error:")
        st.stop()
    runs = catalog.read(RUNS)
    known = subjects_of(group_runs(runs.values), offers.subjects())
    if not known:
        _row_of_pages(page, place, None)
        st.error("No model can be chosen: no registered weights are on this machine, and none was named at the start.")
        st.stop()
    subject = current_subject(known, offers)
    st.session_state[_HERE] = Here(subject, runs, offers)
    _row_of_pages(page, place, subject)
    with st.container(key="head"):
        left, right = st.columns([4, 5], vertical_alignment="center")
    left.title(page.question or page.title, anchor=False)
    with right:
        choose_subject(subject, known, offers)
    in_vain = st.container()
    for sentence in offers.damaged:
        st.warning(plain(sentence), icon=":material/broken_image:")
    blocks.tell_left_out(runs)
    dense = subject.runs[0].baseline if subject.runs else None
    if warning := at_chance(subject.spec, dense):
        st.warning(plain(warning), icon=":material/casino:")
    return in_vain


def _row_of_pages(page: Page, place: StreamlitPage, subject: Subject | None) -> None:
    """Links that carry the subject along, and lead back to what was left on each page."""
    with st.container(horizontal=True, gap="small", key="pages"):
        for each in PAGES:
            query = _address_on(each, subject) if subject else {}
            st.page_link(
                place if each == page else each.file, label=each.title, icon=each.icon, query_params=query or None
            )


def _address_on(page: Page, subject: Subject) -> dict[str, str]:
    """What was left on that page, of this subject; of what was not there yet what is shown at first."""
    left = left_on(page.address)
    if left.get(KEY) != subject.key:
        left = {key: text for key, text in left.items() if key not in DEPENDENT}
    return {KEY: subject.key} | opening(page, subject) | left | {KEY: subject.key}


def _tell_in_vain() -> None:
    for key, text in take_told():
        st.warning(
            f"The address says {plain(f'{key}={text}')}, and that is not here: the page shows what it would show "
            "without it.",
            icon=":material/link_off:",
        )
