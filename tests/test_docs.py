"""The README is true: its commands exist, its table is the shipped runs', its code runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from cached_runs.pages import filled, write_pages, written
from tdq_core.cli import app
from tdq_core.records.store import shipped_folder

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text()
COMMANDS = sorted({" ".join(m.split()) for m in re.findall(r"\.venv/bin/tdq ([^#\n]+)", README)})


@pytest.fixture(scope="module")
def found():
    return written(PROJECT)


def options_in(text: str) -> set[str]:
    """Whole words: '--vbmf-weakening' is not '--vbmf'."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", text))


def options_of(command: str) -> set[str]:
    """What `tdq COMMAND` takes."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup) and command in group.commands, f"there is no command '{command}'"
    return {flag for p in group.commands[command].params for flag in (*p.opts, *p.secondary_opts) if flag[:2] == "--"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_exists_with_its_options(command: str) -> None:
    assert options_in(command) - options_of(command.split()[0]) == set()


def test_the_table_of_options_tells_every_option_of_run_and_no_other() -> None:
    table = re.search(r"<!-- options -->\n(.*?)\n<!-- /options -->", README, re.S)
    assert table and options_in(table[1]) == options_of("run")


def test_an_option_is_a_whole_word() -> None:
    assert options_in("| `--vbmf-weakening W`, `--calibrated` |") == {"--vbmf-weakening", "--calibrated"}
    assert options_in("`--epc [--eta E]`; 1--2, ---, a--b") == {"--epc", "--eta"}


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


def test_what_pages_say_of_runs_and_training_is_written_from_records_and_cards(found):
    """`python -m cached_runs` writes these pages anew."""
    pages = filled(PROJECT, found)
    assert {path: path.read_text() for path in pages} == pages


@pytest.mark.parametrize("page", ["README.md", "cached_runs/README.md", "docs/zoo.md"])
def test_a_page_without_a_place_for_its_table_is_not_passed_over(page, tmp_path, found):
    for path in filled(PROJECT, found):
        copy = tmp_path / path.relative_to(PROJECT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    write_pages(tmp_path, found)
    assert (tmp_path / page).read_text() == (PROJECT / page).read_text()
    (tmp_path / page).write_text(re.sub(r"<!-- /\w+ -->", "", (PROJECT / page).read_text()))
    with pytest.raises(ValueError, match="no place"):
        write_pages(tmp_path, found)
