"""The dashboard's rooms: each knows only those further in, and the inner ones know neither screen nor files."""

import ast
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

DASHBOARD = Path(__file__).resolve().parent.parent.parent / "dashboard"
FILES = sorted(p for p in DASHBOARD.rglob("*.py") if p.parent != DASHBOARD)
MAY_KNOW = {
    "views": {"panels", "figures", "facts", "words", "shelf", "pages"},
    "panels": {"figures", "facts", "words", "shelf", "pages"},
    "figures": {"facts", "words"},
    "shelf": {"facts", "words"},
    "facts": {"words"},
    "words": set(),
}
DRAWS = ("streamlit",)
CHARTS = ("plotly",)


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    parts = {f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    return plain | parts


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(DASHBOARD)))
def test_a_room_knows_only_those_further_in(path: Path) -> None:
    room, names = path.parent.name, imported(path)
    known = {name.split(".")[1] for name in names if name.startswith("dashboard.")}
    assert known - {room} <= MAY_KNOW[room]
    roots = {name.split(".")[0] for name in names}
    if room in ("figures", "facts", "words"):
        assert not roots & {*DRAWS, "pathlib", "os"}
    if room in ("facts", "words"):
        assert not roots & set(CHARTS)


def test_a_page_shows_only_what_it_is_told_to_show(app: str, filled: Path) -> None:
    """Values that stand alone in a page's file, as its docstrings do, are not drawn."""
    at = AppTest.from_file(app, default_timeout=60)
    at.run()
    at.switch_page("views/runs.py").run()
    assert not any("The same in all rows" in m.value for m in at.markdown)
