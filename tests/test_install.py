"""What is installed: the wheel is whole, what is imported is declared, extras are asked for in one sentence."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from torch import nn
from typer.testing import CliRunner

from dashboard.shelf import catalog
from tdq_core import cli
from tdq_core.cli import dashboard as starting
from tdq_core.cli.doctor import examine
from tdq_core.compression.quantize import Request, realise
from tdq_core.errors import InputError
from tdq_core.pipeline.run import Outcome, run
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system import extras

PROJECT = Path(__file__).resolve().parent.parent
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
PACKED = ("tdq_core", "dashboard", "cached_runs")
FOR_DEVELOPERS = {"test", "lint", "peers"}
WORK_OF_EXTRAS = {
    "pt2e": {"torchao"}, "timm": {"timm"}, "sweep": {"dask", "distributed"},
    "mlflow": {"mlflow-skinny", "sqlalchemy", "alembic"},
}  # fmt: skip
"""What is imported where it is asked for, by the engine or on its behalf, by the extra that brings it."""
UNSEEN = {"onnxscript"}
"""Declared, and imported by torch.onnx.export on the engine's behalf."""
FRAMES = {"pandas", "pyarrow"}
"""Imported by `runs().frame()` and by logs in Parquet only, which say what to install where it is not there."""
LARGE = {"mlflow"}
"""Extras that bring so much along that `all` leaves them out."""


def name_of(requirement: str) -> str:
    return Requirement(requirement).name.lower().replace("_", "-")


def declared(*names: str) -> set[str]:
    """The packages that TDQ needs by itself, and those of these extras."""
    texts = [text for name in names for text in DECLARED["optional-dependencies"][name]]
    nested = [extra for text in texts if name_of(text) == "tdq" for extra in Requirement(text).extras]
    own = {name_of(text) for text in [*DECLARED["dependencies"], *texts]} - {"tdq"}
    return own | (declared(*nested) if nested else set())


def imported(folder: str) -> set[str]:
    """The packages of others that the Python files of `folder` import, by the names under which they are installed."""
    modules: set[str] = set()
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules.add((node.module or "").split(".")[0])
            elif isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
    own = {*PACKED, "benchmarks", *(path.stem for path in (PROJECT / "tests").rglob("*.py"))}
    foreign = modules - own - sys.stdlib_module_names
    by_module = dict(packages_distributions())
    by_module.setdefault("mlflow", ["mlflow-skinny"])
    return {by_module.get(module, [module])[0].lower().replace("_", "-") for module in foreign}


def test_what_is_imported_is_declared():
    asked_for = set().union(*WORK_OF_EXTRAS.values())
    assert imported("tdq_core") - asked_for - declared() == FRAMES
    assert imported("dashboard") <= declared("dashboard")
    assert imported("cached_runs") <= declared()
    assert imported("benchmarks") <= declared(*FOR_DEVELOPERS)
    assert imported("tests") <= declared("test")


def test_what_is_declared_is_imported():
    assert declared() - imported("tdq_core") == UNSEEN
    assert declared("dashboard") - declared() <= imported("dashboard")
    for extra, packages in WORK_OF_EXTRAS.items():
        assert declared(extra) - declared() == packages


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make TDQ believe that these packages are not installed, or that they have another version."""
    version_of = extras.installed

    def hide(*packages: str, **versions: str) -> None:
        def installed(package: str) -> str | None:
            return None if package in packages else versions.get(package, version_of(package))

        monkeypatch.setattr(extras, "installed", installed)

    nested = [
        f"{text}; extra == '{name}'" for name, texts in DECLARED["optional-dependencies"].items() for text in texts
    ]
    monkeypatch.setattr(extras.metadata, "requires", lambda package: [*DECLARED["dependencies"], *nested])
    return hide


def test_needs_are_those_of_the_metadata(without: Callable[..., None]) -> None:
    def names(extra: str = "") -> set[str]:
        return {need.name.lower() for need in extras.requirements(extra)}

    assert names() == declared() and names("no such extra") == set()
    for extra in DECLARED["optional-dependencies"]:
        assert names(extra) == declared(extra) - declared()
    assert names("all") == {"streamlit", "plotly", "pandas", "torchao", "timm", *WORK_OF_EXTRAS["sweep"]}


def test_extras_have_a_purpose_and_all_is_all_of_them() -> None:
    users = set(DECLARED["optional-dependencies"]) - FOR_DEVELOPERS - {"all"}
    assert users == set(extras.EXTRAS)
    assert declared("all") == declared(*users - LARGE)


def test_what_is_missing_or_too_old_is_told_with_the_way_to_get_it(without: Callable[..., None]) -> None:
    without("onnx", "timm", streamlit="1.0", torch="2.11.0+cpu", pandas="3.0rc1")
    told = "\n".join(examine()["missing"])
    assert "missing: onnx is not installed. Get it with: pip install 'onnx>=" in told
    assert "optional: The dashboard: streamlit 1.0 is installed, and >=" in told and "pandas" not in told
    assert "timm is not installed. Get it with: pip install 'tdq[timm]'" in told and "torch " not in told
    without("tdq")
    assert any("TDQ is not installed" in line for line in examine()["missing"])


def test_an_extra_is_asked_for_by_name(without: Callable[..., None]) -> None:
    extras.require_extra("dashboard")
    without("streamlit", "plotly", "pandas", torchao="0.1")
    with pytest.raises(InputError, match=r"needs streamlit, plotly and pandas.*: pip install 'tdq\[dashboard\]'\.$"):
        extras.require_extra("dashboard")
    extras.require_extra("pt2e")  # another version than the one in range may do
    without("tdq", "torchao")
    extras.require_extra("pt2e")  # from a folder that was never installed: nothing is known of its needs


INT8_TORCH = RunSpec.of("digits_resnet", "digits", method="tucker2", rule=RankRule("ratio", 2.0), precision="int8")


def test_int8_through_torch_is_refused_before_any_work_and_recorded_runs_stay(
    without: Callable[..., None], tmp_path: Path
) -> None:
    without("torchao")
    stages: list[str] = []

    def ask(store: RunStore, export: Path | None = None) -> Outcome:
        return run(INT8_TORCH, store=store, export=export, on_progress=lambda stage, *_: stages.append(stage))

    for store, export in ((RunStore(tmp_path), None), (RunStore(tmp_path, shipped_folder()), tmp_path / "out")):
        with pytest.raises(InputError, match=r"torchao, not installed here: pip install 'tdq\[pt2e\]'"):
            ask(store, export)
    found = ask(RunStore(tmp_path, shipped_folder()))
    assert found.reused and found.record.state == "complete"
    assert set(stages) == {"read images"} and not list(tmp_path.iterdir())


def test_so_is_a_network_in_hand(without: Callable[..., None], tmp_path: Path) -> None:
    without("torchao")
    images = torch.zeros(2, 1, 8, 8)
    with pytest.raises(InputError, match="torchao"):
        realise(nn.Conv2d(1, 1, 3), "int8", "torch", request=Request(images, lambda: [images], tmp_path))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have taken this process over."""
    commands: list[list[str]] = []
    monkeypatch.setattr(starting.os, "execv", lambda path, command: commands.append([path, *command]))
    return commands


def test_the_dashboard_takes_over_with_its_port_and_its_arguments(taken: list[list[str]]) -> None:
    done = CliRunner().invoke(cli.app, ["dashboard", "--port", "8600", "--", "--data", "folder:photos"])
    assert done.exit_code == 0, done.output
    assert taken == [[sys.executable, *starting.server_command(8600, ["--data", "folder:photos"])]]
    assert taken[0][-5:] == ["--server.port", "8600", "--", "--data", "folder:photos"]
    assert CliRunner().invoke(cli.app, ["dashboard", "--port", "0"]).exit_code == 2


def test_without_its_extra_the_dashboard_is_one_sentence(
    without: Callable[..., None],
    taken: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without("plotly")
    monkeypatch.setattr(sys, "argv", ["tdq", "dashboard"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == "" and not taken
    assert said.err == "tdq: The dashboard needs plotly, not installed here: pip install 'tdq[dashboard]'.\n"


SERVED = """
import json, sys
from streamlit import config
from streamlit.web import bootstrap, cli

def serve(script, is_hello, arguments, options):
    sys.argv = [script, *arguments]  # as Streamlit does before it runs the script
    from dashboard.shelf.catalog import server_arguments
    names = json.loads(sys.stdin.read())
    print(json.dumps([server_arguments(), {name: config.get_option(name) for name in names}]))

bootstrap.run = serve
cli.main(sys.argv[1:], standalone_mode=False)
"""


def settings(plain: dict[str, Any], under: str = "") -> dict[str, Any]:
    """A TOML table as {'server.address': ...}."""
    found: dict[str, Any] = {}
    for name, value in plain.items():
        found |= settings(value, f"{under}{name}.") if isinstance(value, dict) else {f"{under}{name}": value}
    return found


def by_hand(folder: Path) -> list[str]:
    return ["run", os.path.relpath(catalog.ROUTER, folder), "--server.port", "8600", "--", "--data", "folder:photos"]


def by_tdq(folder: Path) -> list[str]:
    command = starting.server_command(8600, ["--data", "folder:photos"])
    return command[command.index("run") :]


@pytest.mark.parametrize("command", [by_hand, by_tdq])
def test_started_anywhere_the_dashboard_has_its_arguments_its_safety_and_its_look(
    command: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(
        '[server]\naddress = "0.0.0.0"\n[theme.light]\ntextColor = "red"\n'
    )
    wanted = settings(tomllib.loads((catalog.ROUTER.parent / ".streamlit" / "config.toml").read_text()))
    safe = {"server.address": "localhost", "browser.gatherUsageStats": False, "client.showErrorDetails": "type"}
    assert safe.items() <= wanted.items() and "theme.light.textColor" in wanted
    environ = {k: v for k, v in os.environ.items() if not k.startswith("STREAMLIT_")} | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", SERVED, *command(tmp_path)], input=json.dumps(list(wanted)),
        capture_output=True, text=True, cwd=tmp_path, env=environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    arguments, options = json.loads(done.stdout)
    assert arguments == ["--data", "folder:photos"] and options == wanted


def test_the_wheel_is_whole_and_says_what_it_needs(tmp_path: Path) -> None:
    for package in PACKED:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, tmp_path / name)
    here = {p.relative_to(tmp_path).as_posix() for name in PACKED for p in (tmp_path / name).rglob("*") if p.is_file()}
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", tmp_path / "made", tmp_path], check=True)
    (wheel,) = (tmp_path / "made").glob("tdq-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
        metadata = packed.read(next(n for n in packed.namelist() if n.endswith("METADATA"))).decode()
    assert names == here and {"dashboard/.streamlit/config.toml", "tdq_core/data/digits.npz"} <= names
    told = re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)
    assert {name_of(text) for text in told if "extra ==" not in text} == declared()
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.M)) == set(DECLARED["optional-dependencies"])
