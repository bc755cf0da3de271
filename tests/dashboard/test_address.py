"""Laws of the address: what a page leaves in it leads back to the same page, whatever was chosen."""

from pathlib import Path
from typing import Any

from made_up import record
from streamlit.testing.v1 import AppTest
from test_views import opened, words

from dashboard.pages import MOVED, PAGES
from tdq_core.records.store import RunStore


def _walk() -> None:  # runs in a session of Streamlit's
    import random

    import streamlit as st

    from dashboard.shelf import state

    draw, lists = random.Random(0), {"runs": list("abcd"), "only": list("xyz")}

    def page(chosen: dict[str, Any]) -> dict[str, Any]:
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
        seen = page(some)
        assert all(seen[key] == value for key, value in some.items()), (some, seen)
        address = dict(st.query_params)
        assert page({}) == seen and dict(st.query_params) == address, "drawn again it stays as it is"
        visited.append((address, seen))
        if draw.random() < 0.3:  # Back, or a copied address in this session
            address, seen = draw.choice(visited)
            st.query_params.from_dict(address)
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


def test_every_page_says_what_it_shows_and_shows_what_it_says(app: str, filled: Path) -> None:
    """Each page, opened by its name alone and by the address that it left: the same address, the same subject, and the
    head's subject on all of them."""
    own = {"subject": "resnet20_cifar10@cifar10-jpeg@50"}
    for page in PAGES:
        for query in ({}, own):
            first = opened(app, page.file, **query)
            left = address(first)
            assert left["subject"] == first.session_state["subject"] == (query or left)["subject"]
            again = first.run()
            assert address(again) == left, page.address
            if query:
                assert not any("aaaaaaaa" in str(e.value) for e in again.markdown), "no run of another subject"
        copied = opened(app, page.file, **left)
        assert address(copied) == left


def test_the_subject_goes_along_from_page_to_page(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", model="resnet20_cifar10", samples="50")
    subject = address(at)["subject"]
    assert subject == "resnet20_cifar10@cifar10-jpeg@50" and "model" not in address(at)
    for page in PAGES[1:4]:
        at.switch_page(page.file).run()
        assert not at.exception and address(at)["subject"] == subject
    links = [e.proto for e in at.get("page_link")]
    assert all(f"subject={subject.replace('@', '%40')}" in link.query_string for link in links[: len(PAGES)])


def test_what_is_not_here_is_told(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", run="deadbeef", group="zzz")
    told = [w.value for w in at.warning]
    assert len(told) == 2 and "run=deadbeef" in told[1] and "group=zzz" in told[0]
    assert not at.run().warning, "once"
    wrong = opened(app, "views/explore.py", model="resnet20_cifar10", data="digits")
    assert any("digits" in w.value and "not here" in w.value for w in wrong.warning)


def test_the_address_of_before_leads_to_the_page_that_answers_now(app: str, filled: Path) -> None:
    at = AppTest.from_file(app, default_timeout=60)
    at.run()
    at.switch_page("views/recipe.py").run()
    assert not at.exception and at.title[0].value == {p.address: p for p in PAGES}[MOVED["recipe"]].question


def test_a_network_that_guesses_is_told_on_every_page(app: str, empty: Path) -> None:
    guess = record("a", right=20)
    assert guess.metrics
    from msgspec.structs import replace

    RunStore(empty).put(replace(guess, baseline=guess.metrics))
    for page in ("views/explore.py", "views/runs.py"):
        assert any("it does not know these images" in w.value for w in opened(app, page).warning)
    assert "Plan a run of" in opened(app, "views/explore.py").subheader[0].value or words
