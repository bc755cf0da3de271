"""How long it takes to list, filter and draw many runs.

    python -m benchmarks.many_records --records 10000

Makes so many records of schema 1 in a folder of its own, as different as those of a large sweep (ratio, precision,
seed, outcomes), and reads them as the dashboard, `tdq show` and Python do: the first time, with the index of the first
time in a new process, and again in the same process. Other work may share the machine: see the CPU's seconds.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dashboard.facts.groups import best_run, group_runs
from dashboard.figures.tradeoff import tradeoff_figure, tradeoff_info
from tdq_core.records.listing import Memory
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Found, Store, shipped_folder
from tdq_core.specs import RunSpec
from tdq_core.stats.intervals import pack_outcomes, wilson
from tdq_core.system.machine import peak_memory

MODEL = "digits_resnet"
PAGES = ("explore", "runs", "compare", "additivity")


def make_records(folder: Path, number: int, *, seeded: int = 0, model: str = MODEL) -> None:
    """Write so many runs: shipped ones of `model` with other seeds, and other images right or wrong."""
    draw = random.Random(seeded)
    folder.mkdir(parents=True, exist_ok=True)
    shipped = [json.loads(path.read_text()) for path in sorted(shipped_folder().glob("*.json"))]
    kinds = [run for run in shipped if run["spec"]["model"] == model and run["state"] == "complete"]
    for count in range(number):
        plain = json.loads(json.dumps(kinds[count % len(kinds)]))
        plain["spec"]["seed"] = count // len(kinds) + 1
        _vary(plain, draw)
        plain["run_id"] = RunSpec.recorded(plain["spec"]).run_id(plain["digests"])
        (folder / f"{plain['run_id']}.json").write_text(json.dumps(plain, indent=1))


def _vary(plain: dict, draw: random.Random) -> None:  # type: ignore[type-arg]
    """Some images more are right or wrong, and some bytes more or less are in the file."""
    metrics = plain["metrics"]
    correct = RunRecord.from_dict(plain).metrics.correct()  # type: ignore[union-attr]
    for _ in range(draw.randrange(40)):
        at = draw.randrange(len(correct))
        correct[at] = not correct[at]
    right, n = int(correct.sum()), len(correct)
    low, high = wilson(right, n)
    metrics.update(outcomes=pack_outcomes(correct), top1=right / n, top1_low=low, top1_high=high)
    metrics["bytes"] += draw.randrange(2000)


def drawn(found: Found[RunRecord]) -> int:
    """What Explore does with records: filter, group, find the best, the front, the figure; the number of points."""
    wanted = [record for record in found.values if record.spec.model.name == MODEL]
    group = group_runs(wanted)[0]
    info = tradeoff_info(group.complete, chosen=best_run(group.complete), span=0.2)
    tradeoff_figure(info).to_json()
    return len(info.points)


def _timed(what: str, work: Callable[[], object]) -> None:
    start, wall = time.process_time(), time.perf_counter()
    work()
    spent, peak = time.process_time() - start, peak_memory() / 2**20
    print(f"| {what} | {spent:.2f} | {time.perf_counter() - wall:.2f} | {peak:.0f} |", flush=True)


def measure(folder: Path, first: str) -> None:
    """Load and draw, twice in this process."""
    memory: Memory[RunRecord] = Memory()
    store: Store[RunRecord] = Store(RUNS, folder)
    _timed(f"{first}: load, filter, front, figure", lambda: drawn(store.found(memory)))
    _timed("warm: the same again", lambda: drawn(store.found(memory)))
    _timed("warm: load alone", lambda: store.found(memory))


def _show(folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    environment = os.environ | {"TDQ_RUNS": str(folder)}
    subprocess.run([sys.executable, "-m", "tdq_core", "show"], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"| `tdq show`, a process | {spent:.2f} | {time.perf_counter() - start:.2f} | {after.ru_maxrss / 1024:.0f} |")


def _pages(folder: Path) -> None:
    from streamlit.testing.v1 import AppTest

    os.environ["TDQ_RUNS"] = str(folder)
    router = Path(__file__).resolve().parent.parent / "dashboard" / "app.py"
    for address in PAGES:
        page = AppTest.from_file(str(router), default_timeout=300).run()
        if address != PAGES[0]:
            page = page.switch_page(f"views/{address}.py")
        for what in ("first", "again"):
            _timed(f"page {address}, {what}", page.run)
            assert not page.exception, page.exception


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_records", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--pages", action="store_true", help="also run pages of the dashboard, without a browser")
    parser.add_argument("--again", type=Path, help="measure this folder, as a new process does")
    options = parser.parse_args(arguments)
    if options.again:
        measure(options.again, "cold, with an index")
        if options.pages:
            _pages(options.again)
        return
    print("| what | CPU s | wall s | peak MB |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "runs"
        _timed(f"making {options.records:,} records", lambda: make_records(folder, options.records))
        measure(folder, "no index yet")
        again = [sys.executable, "-m", "benchmarks.many_records", "--again", str(folder)]
        subprocess.run([*again, *(["--pages"] if options.pages else [])], check=True)
        _show(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
