"""What one must touch to add one more: a toy of each kind is added to a copy of the project, used, and counted.

    python -m benchmarks.adding_one_more

Every toy is used for real: a run from the command line, its command written back, a control or a page in the browser's
place (Streamlit's AppTest). `tests/test_adding_one_more.py` holds the counts at three files at most.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.toys import TOYS, Toy

PROJECT = Path(__file__).resolve().parent.parent
BEFORE = {
    "a decomposition method": "13 to 15",
    "a precision": "8",
    "a backend": "7, and 3 that name theirs",
    "a policy": "4 to 9",
    "a command-line option": "9 to 11",
    "a page": "7 to 10",
}
"""As counted by hand in November 2026, before options, methods, precisions and policies were described once."""


def files_of(toy: Toy) -> list[str]:
    """The files that the toy touches, each once."""
    return list(dict.fromkeys(edit.file for edit in toy.edits))


def add(toy: Toy, project: Path) -> None:
    """Carry out the toy's edits in `project`; ValueError where an anchor is not there exactly once."""
    for edit in toy.edits:
        path = project / edit.file
        if not edit.anchor:
            path.write_text(edit.text)
            continue
        text = path.read_text()
        if text.count(edit.anchor) != 1:
            raise ValueError(f"{edit.file} holds {text.count(edit.anchor)} times what stands after: {edit.anchor!r}")
        path.write_text(text.replace(edit.anchor, edit.text + edit.anchor))


def copied(folder: Path) -> Path:
    """The project's code in `folder`, without its runs."""
    for name in ("tdq_core", "dashboard", "cached_runs"):
        ignored = shutil.ignore_patterns("__pycache__", "*_cifar10.safetensors")
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    for record in (folder / "cached_runs").glob("*.json"):
        record.unlink()
    return folder


_RUN = """
import json, sys
from typer.testing import CliRunner
from tdq_core.cli import app
words = sys.argv[1:]
done = CliRunner().invoke(app, words, catch_exceptions=False)
record = json.loads(done.stdout)
from tdq_core.specs import RunSpec
from tdq_core.specs.command import command_line
import shlex
spec = RunSpec.recorded(record["spec"])
again = CliRunner().invoke(app, [*shlex.split(command_line(spec))[1:], "--json"], catch_exceptions=False)
print(json.dumps({"state": record["state"], "same": json.loads(again.stdout)["run_id"] == record["run_id"],
                  "help": CliRunner().invoke(app, ["run", "--help"]).stdout}))
"""
_SHOWN = """
import json, sys
from streamlit.testing.v1 import AppTest
app, page = sys.argv[1:]
at = AppTest.from_file(app, default_timeout=120).run()
if page != "explore":
    at.switch_page(f"views/{page}.py").run()
assert not at.exception, at.exception[0].stack_trace
def walk(block):
    yield block
    for child in getattr(block, "children", {}).values():
        yield from walk(child)
texts = []
for each in walk(at.main):
    texts += [str(getattr(each, name, "")) for name in ("label", "value")]
    texts += map(str, getattr(each, "options", ()))
print(json.dumps(texts))
"""


def use(toy: Toy, project: Path) -> None:
    """Use the toy in `project`: from the command line, where its own command gives it again, and on its page.

    Raises:
        AssertionError: it does not work as it should.
    """
    if toy.words:
        words = ("run", "--model", "digits_resnet", "--data", "digits", "--samples", "60", "--calib-samples", "40")
        told = json.loads(_called(project, _RUN, (*words, *toy.words, "--json")).splitlines()[-1])
        assert (told["state"], told["same"]) == ("complete", True), told
        shown = told["help"].split()
        assert all(word in shown or f"{word}," in shown or f"{word}." in shown for word in toy.words[-2:]
                   if not word.replace(".", "").isdigit()), "--help names it"  # fmt: skip
    texts = json.loads(_called(project, _SHOWN, (str(project / "dashboard" / "app.py"), toy.page)).splitlines()[-1])
    assert any(toy.shown in text for text in texts), f"the page does not show '{toy.shown}'"


def _called(project: Path, code: str, words: Sequence[str]) -> str:
    environment = os.environ | {"TDQ_RUNS": str(project / "runs"), "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=project, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def main(arguments: Sequence[str] = ()) -> None:
    """Add every toy to a copy of its own, use it, and print the table."""
    print("| add | files, before | files, now |\n|---|---|---|")
    for toy in TOYS:
        with tempfile.TemporaryDirectory() as folder:
            project = copied(Path(folder))
            add(toy, project)
            use(toy, project)
        files = files_of(toy)
        print(f"| {toy.kind} | {BEFORE[toy.kind]} | {len(files)}: {', '.join(f'`{f}`' for f in files)} |", flush=True)


if __name__ == "__main__":
    main()
