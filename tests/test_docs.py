"""The README is true: its commands exist, its table is the shipped runs', its code runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tdq_core.shipped.digits import readme_table
from tdq_core.shipped.study import NETWORKS
from tdq_core.shipped.tables import drops_table, missing_networks, network_table
from tdq_core.store import RunStore, shipped_folder

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text()
ZOO = (PROJECT / "docs" / "zoo.md").read_text()
COMMANDS = sorted({" ".join(m.split()) for m in re.findall(r"\.venv/bin/tdq ([^#\n]+)", README)})


def test_the_table_is_written_from_the_shipped_runs():
    shown = re.search(r"<!-- table -->\n(.*?)\n<!-- /table -->", README, re.S)
    assert shown and shown.group(1) == readme_table(RunStore(shipped_folder()).all())
    assert f"{sum(1 for _ in RunStore(shipped_folder()).paths())} measured runs" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_exists_with_its_options(command):
    name, *rest = command.split()
    shown = subprocess.run(
        [sys.executable, "-m", "tdq_core", name, "--help"], capture_output=True, text=True, check=True
    )
    assert [o for o in rest if o.startswith("--") and o not in shown.stdout] == []


def test_every_option_of_the_readme_exists():
    shown = subprocess.run(
        [sys.executable, "-m", "tdq_core", "run", "--help"], capture_output=True, text=True, check=True
    )
    table = re.search(r"\| option \| choices \|\n(.*?)\n\n", README, re.S).group(1)
    options = set(re.findall(r"(--[a-z][a-z-]+)", table))
    assert options and [o for o in options if o not in shown.stdout] == []


def test_the_python_example_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 0.9


def test_makefile_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.M))
    texts = README + (shipped_folder() / "README.md").read_text()
    assert set(re.findall(r"\bmake ([a-z][\w-]+)\b", texts)) - {"test"} <= targets | {"test"}
    assert {"run", "test", "lint", "bench"} <= targets


def test_links_lead_somewhere():
    assert [
        t for t in re.findall(r"\]\(([^)#]+)\)", README) if not t.startswith("http") and not (PROJECT / t).exists()
    ] == []


def test_the_tables_of_the_zoo_are_written_from_cards_and_records():
    records = RunStore(shipped_folder()).all()
    measured = [m for m in NETWORKS if any(r.spec.model == m for r in records)]
    wanted = {"networks": network_table()} | {m: drops_table(m, records) for m in measured}
    shown = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- /\w+ -->", ZOO, re.S))
    assert shown == wanted
    assert f"Not trained yet: {missing_networks()}." in " ".join(ZOO.split())
