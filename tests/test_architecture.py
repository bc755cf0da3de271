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

# A module imports only from rows above its own row (and from its own package).
ROWS = (
    ("errors", "progress", "files", "latest"),
    ("rank_rule",),
    ("specs", "preprocessing", "machine", "intervals"),
    ("records", "layers", "models.registry", "data.refs", "download"),
    ("store", "table", "pareto", "additivity", "reproduce"),
    ("ranks", "layer_files", "components"),
    ("torchvision_compat", "augment"),
    ("decompose", "models", "data"),
    ("layer_table", "factorized", "evaluate", "quantize"),
    ("condition",),
    ("calibrate",),
    ("finetune",),
    ("opening", "export", "train"),
    ("build",),
    ("pipeline", "jobs", "component_study"),
    ("recipe",),
    ("job_worker", "cli"),
    ("shipped", "__main__"),
)
TORCH_FREE = (*(name for row in ROWS[:6] for name in row), "jobs", "cli", "shipped")


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[1:-1] if parts[-1] == "__init__" else parts[1:])


def room(module: str) -> str:
    """The most specific entry of ROWS that `module` belongs to."""
    known = {name for row in ROWS for name in row}
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in known:
            return ".".join(parts[:length])
    return ""


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tdq_core"):
            base = (node.module or "").removeprefix("tdq_core").lstrip(".")
            found |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("tdq_core.") for a in node.names if a.name.startswith("tdq_core.")}
    return found


def test_imports_point_one_way():
    row_of = {name: at for at, row in enumerate(ROWS) for name in row}
    wrong = []
    for path in ENGINE:
        here = room(module_name(path))
        if not module_name(path):
            continue
        assert here, f"{path.name} has no room in ROWS: say where it stands"
        for target in imported(path):
            there = room(target)
            same_package = there.split(".")[0] == here.split(".")[0]
            if there and not same_package and row_of[there] >= row_of[here]:
                wrong.append(f"{module_name(path)} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(PROJECT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_there_is_no_drawer_for_everything():
    assert not [p for p in CODE if p.stem in ("utils", "common", "helpers", "misc")]


def test_the_engine_knows_no_screen_and_browsing_needs_no_torch():
    modules = [f"tdq_core.{name}" for name in TORCH_FREE]
    code = "import importlib, sys\n"
    code += f"for m in {modules}: importlib.import_module(m)\n"
    code += "print(sorted({'torch', 'streamlit'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
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
