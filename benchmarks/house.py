"""The house in numbers: entries on the first floor, arrows between rooms, lines, complexity, how much is untyped.

    python -m benchmarks.house [CHECKOUT]

Needs the lint extra (radon, mypy, grimp by way of import-linter). Import times are medians of five processes.
"""

import ast
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOMS = ("tdq_core", "dashboard", "cached_runs", "benchmarks")
PLAIN = re.compile(r"(?:dict|Mapping)\[str, Any\]")


def main(arguments: Sequence[str] = ()) -> None:
    """Print the numbers of a checkout; none given: of this one."""
    root = Path(arguments[0] if arguments else Path(__file__).resolve().parent.parent)
    files = sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))
    engine = [p for p in (root / "tdq_core").iterdir() if p.name != "__pycache__"]
    print(f"entries in tdq_core/         {len(engine)}, {sum(p.suffix == '.py' for p in engine)} of them loose files")
    print(f"loose files in dashboard/    {sum(p.suffix == '.py' for p in (root / 'dashboard').iterdir())}")
    print(f"rooms, arrows between them   {len(_rooms(root, files))}, {len(set(_arrows(root, files)))}")
    lines = [path.read_text().count("\n") for path in files]
    print(f"files, lines, longest        {len(files)}, {sum(lines):,}, {max(lines)}")
    print(f"dict/Mapping[str, Any]       {sum(len(PLAIN.findall(path.read_text())) for path in files)}")
    print(f"cyclomatic complexity        {_complexity(root)}")
    print(f"expressions that are Any     {_any(root)}")
    for what, code in (("tdq --help", "import tdq_core.cli as c; c.app"), ("the dashboard", "import dashboard.app")):
        print(f"import time, {what:<16}{_seconds(root, code)}")


def _room(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:2]) if parts[0] in ("tdq_core", "dashboard") else parts[0]


def _rooms(root: Path, files: Sequence[Path]) -> set[str]:
    return {_room(root, path) for path in files}


def _arrows(root: Path, files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    rooms = _rooms(root, files)
    for path in files:
        here = _room(root, path)
        for target in _imported(path):
            there = next((room for room in (".".join(target.split(".")[:n]) for n in (2, 1)) if room in rooms), None)
            if there and there != here:
                yield here, there


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _complexity(root: Path) -> str:
    from radon.complexity import cc_visit

    found = [block.complexity for path in (root / "tdq_core").rglob("*.py") for block in cc_visit(path.read_text())]
    high = sum(c > 10 for c in found)
    return f"mean {statistics.mean(found):.2f}, most {max(found)}, above 10: {high} of {len(found)} (tdq_core)"


def _any(root: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        packages = [word for room in ("tdq_core", "dashboard") for word in ("-p", room)]
        command = [sys.executable, "-m", "mypy", *packages, "--any-exprs-report", folder, "--ignore-missing-imports"]
        subprocess.run(command, capture_output=True, cwd=root, check=False)
        last = (Path(folder) / "any-exprs.txt").read_text().strip().splitlines()[-1].split()
    return f"{int(last[1]):,} of {int(last[2]):,}, {last[3]} typed"


def _seconds(root: Path, code: str) -> str:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
        times.append(time.perf_counter() - start)
        if done.returncode:
            return "does not import"
    return f"{statistics.median(times):.2f} s"


if __name__ == "__main__":
    main(sys.argv[1:])
