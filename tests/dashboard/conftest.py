"""Folders of their own for the dashboard's tests, and the pages that the router names."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from made_up import four_cells, layer_table, recipe, record, study
from streamlit.testing.v1 import AppTest

from tdq_core.analysis.components import STUDIES
from tdq_core.models.layer_files import write_layer_file
from tdq_core.recipes.report import RECIPES
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import RunSpec

PROJECT = Path(__file__).resolve().parent.parent.parent
if str(PROJECT) not in sys.path:
    sys.path.insert(0, str(PROJECT))


@pytest.fixture(scope="session")
def app() -> str:
    """The router's file."""
    return str(PROJECT / "dashboard" / "app.py")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No run and no layer table anywhere; returns the folder where new ones go."""
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("tdq_core.records.store.PROJECT", tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def filled(empty: Path) -> Path:
    """Four cells, a failed and a refused run, a run on other images, a layer table, a study and a recipe."""
    store = RunStore(empty)
    unfinished = (record("e", method="cp", state="failed"), record("f", method="cp", ratio=9.0, state="refused"))
    for one in (*four_cells(), *unfinished, record("0", data="2" * 64)):
        store.put(one)
    write_layer_file(layer_table(), RunSpec.of("digits_resnet", "digits"))
    Store(STUDIES).put(study())
    Store(RECIPES).put(recipe())
    return empty


@pytest.fixture
def pages(app: str, empty: Path) -> Iterator[list[str]]:
    """The scripts that the router hands to Streamlit, relative to it."""
    seen: list[Any] = []
    original = st.navigation

    def remember(given: list[Any], **options: Any) -> Any:
        seen[:] = given
        return original(given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(st, "navigation", remember)
        AppTest.from_file(app, default_timeout=60).run()
    yield list(dict.fromkeys(str(Path(page._page).relative_to(Path(app).parent)) for page in seen))
