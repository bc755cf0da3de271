"""The house stays in order: imports point one way, files stay small, the engine knows no screen."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent
ENGINE = sorted((PROJECT / "tdq_core").rglob("*.py"))
CODE = ENGINE + sorted((PROJECT / "dashboard").rglob("*.py"))


def test_the_first_floor_has_about_twenty_entries():
    """Whoever lists the engine's folder reads what happens to a weight; `lint-imports` says which room knows which."""
    entries = [p.name for p in (PROJECT / "tdq_core").iterdir() if not p.name.startswith("__pycache")]
    assert len(entries) <= 23, entries


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(PROJECT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_no_sum_of_components_is_written_out_by_einsum():
    """Three matrices with one column in common: einsum joins two of them for every column first, a gigabyte of them for
    a wide layer (see `linalg.of_components`)."""
    asked = [found for path in ENGINE for found in re.findall(r'einsum\(\s*"([a-z,]+)->([a-z]*)"', path.read_text())]
    assert len(asked) > 20
    for taken, given in asked:
        parts = taken.split(",")
        common = set.intersection(*map(set, parts)) - set(given)
        assert len(parts) < 3 or not common, taken


def test_there_is_no_drawer_for_everything():
    assert not [p for p in CODE if p.stem in ("utils", "common", "helpers", "misc")]


@pytest.mark.parametrize(
    "room", ["tdq_core.cli", "tdq_core.jobs.queue", "tdq_core.records.table", "tdq_core", "dashboard"]
)
def test_browsing_needs_no_torch(room):
    """At run time too: imports within functions are not followed by `lint-imports`' rule for the command line."""
    code = f"import {room}, sys; print(sorted({{'torch', 'streamlit'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


def test_the_changelog_starts_with_the_packages_version():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.M).group(1) == version


def test_every_range_holds_its_pin():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    needs = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    for need in map(Requirement, needs):
        if need.name != project["name"]:  # an extra that is made of others
            assert need.specifier.contains(pins[need.name.lower().replace("_", "-")]), str(need)
