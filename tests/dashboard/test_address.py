"""Laws of the address: what a page leaves in it leads back to the same page, whatever was chosen."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import streamlit as st
from made_up import record
from msgspec.structs import replace
from streamlit.testing.v1 import AppTest
from test_views import metrics, opened

from dashboard.pages import PAGES, Page, places
from dashboard.shelf import state
from tdq_core.records.store import RunStore


def _walk() -> None:  # runs in a session of Streamlit's
    import random
    import unittest.mock

    import streamlit as st

    from dashboard.shelf import state

    draw, lists = random.Random(0), {"runs": list("abcd"), "only": list("xyz")}

    def page(chosen):  # type: ignore[no-untyped-def]
        with state.leaving_an_address("p"):
            for key, value in chosen.items():
                st.session_state[key] = value
            state.choice("one", list("uvw"))
            state.record_choice("record", list("uvw"))
            state.number("whole", 5, 1, 100)
            state.number("none", None, 0.5, 9.0)
            state.flag("flag", True)
            state.choices("runs", lists["runs"], default=["a", "b"])
            state.choices("only", lists["only"])
            return {k: st.session_state[k] for k in ("one", "record", "whole", "none", "flag", "runs", "only")}

    visited = []
    for _ in range(200):
        step = {
            "one": draw.choice("uvw"), "record": draw.choice("uvw"), "whole": draw.randint(1, 100),
            "none": draw.choice([None, 0.5, 2.25]), "flag": draw.random() < 0.5,
            "runs": draw.sample("abcd", draw.randint(0, 4)), "only": draw.sample("xyz", draw.randint(0, 3)),
        }  # fmt: skip
        some = dict(draw.sample(list(step.items()), draw.randint(0, 3)))
        before = dict(st.query_params)
        seen = page(some)
        assert all(seen[key] == value for key, value in some.items()), (some, seen)
        address = dict(st.query_params)
        assert page({}) == seen and dict(st.query_params) == address, "drawn again it stays as it is"
        visited.append((address, seen))
        if draw.random() < 0.3:  # Back, or a copied address in this session
            address, seen = draw.choice(visited)
            st.query_params.from_dict(address)
            with unittest.mock.patch.object(state, "came_by_history", lambda: True):
                assert page({}) == seen and dict(st.query_params) == address
        elif before and draw.random() < 0.3:  # a control is moved before the browser knows the last address
            st.query_params.from_dict(before)
            assert page({}) == seen and dict(st.query_params) == address
    for address, seen in draw.sample(visited, 20):  # somebody else opens it
        st.session_state.clear()
        st.query_params.from_dict(address)
        assert page({}) == seen and dict(st.query_params) == address
        assert not state.take_told()
    st.session_state.clear()
    st.query_params.from_dict({"one": "z", "whole": "500", "none": "much", "flag": "True", "runs": "a,q", "only": "x"})
    found = page({})
    assert (found["one"], found["whole"], found["none"], found["runs"]) == ("u", 5, None, ["a"])
    assert state.take_told() == [("one", "z"), ("whole", "500"), ("none", "much"), ("runs", "q")]


def test_a_walk_over_choices_and_back() -> None:
    ran: Any = AppTest.from_function(_walk, default_timeout=60).run()
    assert not ran.exception, ran.exception[0].stack_trace


def address(at: AppTest) -> dict[str, str]:
    said = {name: at.query_params[name] for name in at.query_params}
    return {name: text[0] if isinstance(text, list) else text for name, text in said.items()}


def follow(at: AppTest, page: Page) -> dict[str, str]:
    """The link to a page in the head's row, followed as a browser does; the address that it leads to."""
    (link,) = (e.proto for e in at.get("page_link")[: len(PAGES)] if e.proto.label == page.title)
    query = dict(parse_qsl(link.query_string, keep_blank_values=True))
    go(at, page, query)
    return query


def go(at: AppTest, page: Page, query: dict[str, str]) -> AppTest:
    """To the page's address, and nothing of the last one."""
    at.switch_page(page.file)
    at.query_params.clear()
    at.query_params.update(query)
    at.run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def test_a_walk_over_the_pages(app: str, filled: Path) -> None:
    """The subject goes along; what a page leaves in the address leads back to it, in this session and in another; a
    page that was seen before is reached in one step."""
    at = opened(app, "views/explore.py", model="digits_resnet", data="digits")
    subject = address(at)["subject"]
    assert "model" not in address(at) and subject.startswith("digits_resnet@digits@")
    left = {}
    for page in (*PAGES[1:], PAGES[0]):
        asked = follow(at, page)
        assert asked["subject"] == subject and asked == address(at), "one step of the browser's history"
        left[page] = address(at)
        assert at.session_state["subject"] == left[page]["subject"] == subject
        assert at.title[0].value == (page.question or page.title)
    for page in PAGES:
        assert follow(at, page) == address(at) == left[page], "one step of the browser's history"
    for page in PAGES[:4]:
        other = go(AppTest.from_file(app, default_timeout=60), page, left[page])
        assert address(other) == left[page], "somebody else sees the same"
        assert not any("not here" in w.value for w in other.warning)


def test_another_subject_takes_nothing_of_the_last_one_along(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", run="b" * 16, method="svd")
    follow(at, PAGES[1])
    at.selectbox(key="subject").set_value("resnet20_cifar10@cifar10-jpeg").run()
    asked = follow(at, PAGES[0])
    assert asked == address(at) and "run" not in asked and asked["method"] == "svd"
    for page in PAGES[1:5]:
        follow(at, page)
        assert address(at)["subject"] == "resnet20_cifar10@cifar10-jpeg"
        told = [str(e.value) for e in (*at.markdown, *at.caption, *at.warning)]
        assert not any("digits" in text for text in told), "no run of another subject"


def test_back_shows_what_was_there(app: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = opened(app, "views/explore.py", run="b" * 16)
    before, tiles = address(at), metrics(at)
    at.selectbox(key="run").set_value("d" * 16).run()
    assert metrics(at) != tiles and address(at) != before
    at.query_params.clear()
    at.query_params.update(before)
    monkeypatch.setattr(state, "came_by_history", lambda: True)
    at.run()
    assert metrics(at) == tiles and address(at) == before


def test_what_is_not_here_is_told(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", run="deadbeef", group="zzz")
    told = [w.value for w in at.warning]
    assert len(told) == 2 and "run=deadbeef" in told[1] and "group=zzz" in told[0]
    assert not at.run().warning, "once"
    wrong = opened(app, "views/explore.py", model="resnet20_cifar10", data="digits")
    assert any("digits" in w.value and "not here" in w.value for w in wrong.warning)


def test_every_name_of_a_page_is_an_address_and_links_lead_to_the_first(app: str, filled: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        given: list[Any] = []
        original = st.navigation
        patch.setattr(st, "navigation", lambda pages, **how: (given.extend(pages), original(pages, **how))[1])
        at = AppTest.from_file(app, default_timeout=60).run()
    there = [page.url_path for page in given]
    assert there == list(places()) and {p.address for p in PAGES} | {p.title.lower() for p in PAGES} <= set(there)
    assert places()["recipe"].address == "find" and places()[""] == PAGES[0]
    links = [e.proto.page for e in at.get("page_link")[: len(PAGES)]]
    assert links[1:] == [p.address for p in PAGES[1:]] and links[0] == ""  # where the browser is


def test_a_network_that_guesses_is_told_on_every_page(app: str, empty: Path) -> None:
    guess = record("a", right=20)
    assert guess.metrics
    RunStore(empty).put(replace(guess, baseline=guess.metrics))
    for page in ("views/explore.py", "views/runs.py"):
        assert any("it does not know these images" in w.value for w in opened(app, page).warning)
