"""What the address of a page may say: every setting of the pages, asked with texts that nobody would choose."""

import random
from collections import Counter
from typing import Any

from streamlit.testing.v1 import AppTest

TEXTS = (
    "", " ", "nan", "NaN", "inf", "-inf", "1e999", "-1", "0", "1", "2.0", "1e3", "True", "False", "None", "null",
    "9" * 5000, "\x00", "\ud800", "é", "\u0663", "1_000", "0x10", "a,b", ",", ",,,", "[", "../..", "<b>", "A" * 5000,
    "javascript:alert(1)", "explore", "drop", "bytes", "5", "20", "all", "tucker2", "cp", "none",
)  # fmt: skip


def _script(pairs: list[tuple[str, str]]) -> None:  # runs in a session of Streamlit's
    import streamlit as st

    from dashboard.shelf.state import Setting, number_in, one_of, switch, words

    for key, text in pairs:
        settings: list[Setting] = [
            one_of(key, ["drop", "5", "20", "all"]),
            number_in(key, 2.0, 1.01, 1000.0),
            number_in(key, 100, 0, 5000),
            number_in(key, None, 2, 5000),
            switch(key, True),
            words(key, "a"),
        ]
        for setting in settings:
            st.session_state.clear()
            st.query_params.clear()
            st.query_params[key] = text
            value = setting.value()
            assert setting.fits(value), (key, text, value)
            setting.settle()


def looked_at(inputs: int, seeded: int) -> Counter[str]:
    """Ask the settings so often; an answer that cannot be chosen, or a traceback, is raised."""
    draw = random.Random(seeded)

    def text() -> str:
        if draw.random() < 0.5:
            return draw.choice(TEXTS)
        return "".join(
            chr(draw.choice((draw.randrange(32, 127), draw.randrange(0xD7FF)))) for _ in range(draw.randrange(9))
        )

    done = 0
    while done < inputs:
        pairs = [
            (f"key{number}", text().encode(errors="replace").decode()) for number in range(min(200, inputs - done))
        ]
        ran: Any = AppTest.from_function(_script, args=(pairs,), default_timeout=60).run()
        if ran.exception:
            raise AssertionError(ran.exception[0].value)
        done += len(pairs)
    return Counter(accepted=done)
