"""Texts from outside on pages and in charts: shown as they are, whatever markup they look like."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import four_cells, layer_table, record, study
from msgspec.structs import replace as changed
from test_browser import CHROMIUM, _wait_for, playwright
from test_browser import pytestmark as in_a_browser
from test_views import opened

from dashboard.figures.components import strip_figure
from dashboard.figures.plan import plan_bars, plan_figure
from dashboard.words.markup import label, plain
from tdq_core.analysis.components import STUDIES
from tdq_core.models.layer_files import write_layer_file
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.plain_text import printable

NASTY = "[/i] :red[x] $a$ <b>y</b> `c` :fire: [l](javascript:e) \x1b[31m\n# z"
PIECES = (
    ":red[x]", ":fire: :+1: :streamlit:", ":material/home:", "$a^2$ $$b$$", "<b>x</b><br>", "[x](javascript:e)",
    "![i](http://e.org/x.png)", "a -> b >= c -- d", "https://e.org www.e.org a@e.org", "# x", "- x", "+ x", "12. x",
    "3) x", "`x` ``y``", "*a* _b_ ~~c~~ __init__.py", "a|b", "C:\\x \\*x*", "&lt;b&gt; &#36;", "> x", "    x", "---",
    "[[1]] [^1] [ ] x", "a\u202eb\x1b[31m\nc", ":r{a} :red[a", "it's \"so\" (5 %); a/b_c.d", "",
)  # fmt: skip


def nasty_record(one: RunRecord) -> RunRecord:
    layers = tuple(
        changed(la, name=f"{NASTY}{i}", skipped_because=la.skipped_because and NASTY) for i, la in enumerate(one.layers)
    )
    provenance = {**one.provenance, "weights": NASTY, "split": NASTY, "cpu": NASTY}
    return changed(one, notes=(NASTY,), layers=layers, provenance=provenance, reason=one.reason and NASTY)


@pytest.fixture
def nasty(filled: Path) -> Path:
    """Everything that pages show, under names that look like markup."""
    for one in (*four_cells(), record("f", method="cp", ratio=9.0, state="refused")):
        RunStore(filled).put(nasty_record(one))
    table = layer_table()
    layers = tuple(replace(la, name=f"{i}{NASTY}") for i, la in enumerate(table.layers))
    write_layer_file(replace(table, layers=layers), RunSpec.of("digits_resnet", "digits"))
    own = study()
    studied = tuple(changed(la, name=f"{i}{NASTY}") for i, la in enumerate(own.layers))
    Store(STUDIES).put(changed(own, layers=studied, notes=(NASTY,)))
    (filled / f"{NASTY.replace('/', '|')}.json").write_text("{}")
    return filled


def read_as_markdown(block: Any) -> Iterator[str]:
    """Every text of a page that Streamlit reads as Markdown, labels and tooltips included."""
    for element in block:
        proto = getattr(element, "proto", None)
        if element.type in ("code", "arrow_data_frame", "text"):
            continue
        for name in ("body", "label", "help", "text"):
            value = getattr(proto, name, "")
            yield value if isinstance(value, str) else ""
        expandable = getattr(proto, "expandable", None)
        yield getattr(expandable, "label", "")


@pytest.mark.parametrize("query", [{}, {"run": "f" * 16}], ids=["complete", "refused"])
def test_no_page_takes_a_name_for_markup(app: str, pages: list[str], nasty: Path, query: dict[str, str]) -> None:
    shown = 0
    for page in pages:
        texts = list(read_as_markdown(opened(app, page, **query)))
        assert not [t for t in texts if ":red[" in t.replace("\\:red\\[", "") or "\x1b" in t], page
        shown += sum(plain(NASTY) in t for t in texts)
    assert shown >= 6, "the names are on the pages"


def test_no_chart_takes_a_layer_for_markup() -> None:
    table = layer_table()
    layers = tuple(replace(la, name=f"{i}{NASTY}") for i, la in enumerate(table.layers))
    plan = make_plan(replace(table, layers=layers), "tucker2", RankRule("ratio", 2.0))
    own = study()
    strip = changed(own, layers=tuple(changed(la, name=f"{i}{NASTY}") for i, la in enumerate(own.layers)))
    for figure in (plan_figure(plan_bars(plan.layers)), strip_figure(strip, strip.layers[0].name)):
        drawn = json.loads(figure.to_json())
        for trace in drawn["data"]:
            trace.pop("customdata", None) if "%{customdata}" not in trace["hovertemplate"] else None
        assert "<b>y</b>" not in json.dumps(drawn) and "$a$" not in json.dumps(drawn)
        assert label(NASTY) in json.dumps(drawn, ensure_ascii=False).replace("\\\\", "\\")


def test_layers_that_are_called_by_numbers_stand_in_their_order() -> None:
    own = study()
    numbered = changed(own, layers=tuple(changed(la, name=str(2 * i)) for i, la in enumerate(own.layers)))
    assert strip_figure(numbered, "0").layout.xaxis.type == "category"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, str]]]:
    """What a browser shows of every piece: between words, alone, and as a label; with the elements inside."""
    script = tmp_path_factory.mktemp("markup") / "page.py"
    texts = [f"{head}{plain(piece)}{tail}" for head, tail in (("a ", " z"), ("", "")) for piece in PIECES]
    script.write_text(f"import streamlit as st\nfor t in {texts!r}:\n    st.markdown(t)\nst.text('end')\n")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true",
               "--server.port", str(port)]  # fmt: skip
    server = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://localhost:{port}/_stcore/health")
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://localhost:{port}")
            page.get_by_test_id("stText").wait_for(timeout=60_000)
            page.wait_for_timeout(1500)  # parts that read pictures and mathematics come after the text
            boxes = page.get_by_test_id("stMarkdownContainer").all()
            yield [(box.text_content() or "", box.inner_html()) for box in boxes]
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.mark.browser
@in_a_browser[1]
def test_a_browser_shows_every_piece_as_it_is(rendered: list[tuple[str, str]]) -> None:
    wanted = [f"{head}{printable(piece)}{tail}" for head, tail in (("a ", " z"), ("", "")) for piece in PIECES]
    assert len(rendered) == len(wanted)
    for (text, inside), expected in zip(rendered, wanted, strict=True):
        seen = text.replace("\N{WORD JOINER}", "").replace("\N{NO-BREAK SPACE}", " ").rstrip("\n")
        assert seen == expected
        assert inside.replace("<p>", "").replace("</p>", "").count("<") == 0, "no element but the paragraph"
