"""The terminal: names come out as they are, whatever they hold, in every encoding, and nobody needs to listen."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tdq_core.cli import terminal
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.system.plain_text import printable

NASTY = "[/i] [bold]b[/bold] [link=e]l[/link] :fire: \x1b[31mred\x1b[0m\r\n# \u202e\u2028\x07"
MOVING = {"\x1b", "\r", "\x07", "\u202e", "\u2028"}
NET = """
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleDict({"[first]": nn.Conv2d(1, 8, 3), NAME: nn.Conv2d(8, 8, 3)})
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        for stage in self.stages.values():
            x = F.relu(stage(x))
        return self.fc(x.mean((2, 3)))


def one():
    return Net()
"""
ARGUMENTS = ("--model", "m.py:one", "--weights-random", "--input-size", "8")
DIGITS = ("--data", "digits", "--samples", "20", "--mean", "0.3", "--std", "0.4", "--method", "svd", "--ratio", "1.1")
Tdq = Callable[..., "subprocess.CompletedProcess[str]"]


def test_tables_and_sentences_show_the_names_as_they_are(tdq: Tdq, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(NET.replace("NAME", repr(NASTY)))
    told, run = tdq("layers", *ARGUMENTS), tdq("run", *ARGUMENTS, *DIGITS)
    names = [la["name"] for la in json.loads(tdq("layers", *ARGUMENTS, "--json").stdout)["layers"]]
    assert told.returncode == 0 and f"stages.{NASTY}" in names
    assert all(printable(name) in told.stdout for name in names) and "m.py:one: " in told.stdout
    assert printable(f"stages.{NASTY}") in run.stdout and "left alone: stages.[first]:" in run.stdout
    shown = tdq("show", run.stdout.split()[1].rstrip(":"))
    for answer in (told, run, shown):
        assert not MOVING & set(answer.stdout + answer.stderr)


@pytest.mark.parametrize("model, data", [(NASTY, "digits"), ("digits_resnet", f"folder:{NASTY}")])
def test_complaints_show_what_was_given_as_it_is(tdq: Tdq, model: str, data: str) -> None:
    told = tdq("run", "--model", model, "--data", data)
    assert told.returncode == 2 and printable(NASTY) in told.stderr and len(told.stderr.splitlines()) == 1


def test_files_of_the_store_are_named_as_they_are(tdq: Tdq, tmp_path: Path) -> None:
    name = NASTY.replace("/", "|")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{name}.json").write_text("{}")
    assert printable(name) in tdq("show").stderr and printable(name) in tdq("doctor").stdout


def test_progress_shows_the_stage_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bars() as on_progress:
        on_progress(NASTY, 1, 2)
    assert printable(NASTY) in screen.getvalue() and "\x07" not in screen.getvalue()


def spoken(
    *arguments: str, cwd: Path, stdout: int = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    own = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG")} | {"TDQ_RUNS": str(cwd / "runs")}
    command = [sys.executable, "-m", "tdq_core", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, cwd=cwd, env=own | environment, check=False)


ENCODINGS = (
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "ascii:strict"}, {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"COLUMNS": "20"}, {"NO_COLOR": "1"},
)  # fmt: skip


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda e: "-".join(e.values()))
def test_any_encoding_shows_a_table(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "m.py").write_text(NET.replace("NAME", repr("g\u00fcnstig \u5c64")))
    done = spoken("layers", *ARGUMENTS, cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("cp1252" if "cp1252" in environment.values() else "utf-8").splitlines()
    assert any("nstig" in line and ("8->8" in line or "8\u21928" in line) for line in lines)


@pytest.mark.parametrize("arguments", [("models",), ("show",), ("show", "--json"), ("csv",), ("doctor",)])
def test_nobody_needs_to_read_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = spoken(*arguments, cwd=tmp_path, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [("models",), ("show", "--json")])
def test_a_full_disk_under_stdout_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = spoken(*arguments, cwd=tmp_path, stdout=full.fileno())
    assert done.returncode == 1 and done.stderr.startswith(b"tdq: The result cannot be printed: ")
    assert done.stderr.count(b"\n") == 1


def test_a_narrow_terminal_cuts_no_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.say_table(("layer", "note"), [("n" * 300, "one two " * 20), ("\u5c64", "")])
    said = capsys.readouterr().out
    assert "n" * 300 in said and said.split().count("two") == 20
    assert max(len(line) for line in said.splitlines()) < 350, "the note is folded"


def test_nobody_else_prints() -> None:
    """In the engine one module holds the terminal, and no other one knows what reads markup."""
    home = Path(terminal.__file__)
    drawing = home.with_name("sweep_live.py")  # a table that changes while a sweep runs, on the same terminal
    for path in home.parents[1].rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()] if path not in (home, drawing) else []
        found = [line for line in lines if line.startswith(("print(", "typer.echo(", "from rich", "import rich"))]
        assert not found, path


def test_the_shipped_runs_are_all_listed(tdq: Tdq) -> None:
    count = len(list(RunStore(shipped_folder()).paths()))
    assert f"\n{count} runs.\n" in tdq("show").stdout
