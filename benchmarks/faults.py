"""Does anything measured get lost, does a page break, does a reader hang, is anything left behind?

    python -m benchmarks.faults --faults 250 --seed 0

Faults at random moments, drawn from the seed: writers, runs and workers that are killed (SIGKILL) or asked to end
(SIGTERM, SIGHUP); files that are torn, spoilt, emptied or replaced by what is no file; disks that are full when a run
is kept; several who ask for the same run. After each, everything that was finished is looked for and the folder is
looked through; now and then all pages are opened. All counts must be 0.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks._campaign import COUNTED, LONGEST_S, MODEL, Campaign
from benchmarks._damage import NON_FILES, TEXTS
from tdq_core.analysis.components import STUDIES
from tdq_core.errors import NotKept
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.folder import Request
from tdq_core.recipes.report import RECIPES
from tdq_core.records.store import RunStore, Store, shipped_folder
from tdq_core.specs import RunSpec
from tdq_core.system import leftovers
from tdq_core.system.signals import unwinding

PAGES = ("explore", "study", "find", "components", "additivity", "compare", "runs")
_FORK = multiprocessing.get_context("fork")


def _forked(work: Callable[[], None]) -> "multiprocessing.process.BaseProcess":
    """`work` in a process of its own that can be killed; what goes wrong in it is its exit code."""

    def begin() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with unwinding(), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            work()

    process = _FORK.Process(target=begin)
    process.start()
    return process


def killed_writer(c: Campaign) -> None:
    """A writer ends at a random moment: what it had told as kept is there."""
    records = [c.record(c.draw.randrange(2**31)) for _ in range(8)]
    reader, writer = _FORK.Pipe(duplex=False)

    def write() -> None:
        for record in records:
            RunStore(c.folder).put(record)
            writer.send(record.run_id)

    process = _forked(write)
    time.sleep(c.draw.random() * 0.04)
    os.kill(process.pid or 0, c.draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)))
    process.join()
    while reader.poll():
        name = reader.recv()
        c.finished[name] = next(r for r in records if r.run_id == name)
    for record in records:  # one may have been kept and not told: it is whole, or there is none
        if (there := RunStore(c.folder).get(record.run_id)) is not None:
            c.counts["runs lost"] += there != record
            c.finished[record.run_id] = record
    c.looked_through()


def damaged_file(c: Campaign) -> None:
    """A file is torn, spoilt, emptied or replaced by something else: the others are there, and it is told."""
    c.keep(record := c.record(c.draw.randrange(2**31)))
    path, others = c.folder / f"{record.run_id}.json", Path(f"{c.folder}-damaged")
    c.finished.pop(record.run_id)
    _damage(path, c.draw)
    c.looked_through(damaged=1)
    others.mkdir(exist_ok=True)  # pages are opened on all of them together
    with contextlib.suppress(OSError):
        path.rename(others / path.name)
    _remove(path)


def _damage(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    how = draw.choice(("torn", "spoilt", "text", "value", *NON_FILES))
    if how == "torn":
        path.write_bytes(data[: draw.randrange(len(data) - 1)])
    elif how == "spoilt":
        at = data.index(b'"top1":') + 8  # somewhere that matters: not in a note, which may say anything
        path.write_bytes(data[:at] + draw.choice((b"-", b"\xff", b"9", b"{", b"null,")) + data[at + 1 :])
    elif how == "text":
        path.write_text(draw.choice(TEXTS))
    elif how == "value":
        plain = json.loads(data)
        part = draw.choice(("n", "bytes", "params", "outcomes", "top1"))
        plain["metrics"][part] = draw.choice((0, -1, None, "a", [], 1e300, 10**30))
        path.write_text(json.dumps(plain))
    else:
        path.unlink()
        NON_FILES[how](path)


def _remove(path: Path) -> None:
    if os.path.lexists(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def full_disk(c: Campaign) -> None:
    """No more than some bytes can be written: the run is in hand, and its file is not half there."""
    record = c.record(c.draw.randrange(2**31))
    room = c.draw.randrange(len(record.to_json()))

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            RunStore(c.folder).put(record)
        except NotKept as lost:
            sys.exit(lost.value is not record)
        sys.exit(1)

    process = _forked(write)
    process.join(LONGEST_S)
    c.counts["runs lost"] += process.exitcode != 0
    c.counts["leftovers"] += os.path.lexists(c.folder / f"{record.run_id}.json")
    c.looked_through()


def two_writers(c: Campaign) -> None:
    """The same run is asked for by several at once, of which one is killed: it is measured once more at most."""
    record, measured = c.record(c.draw.randrange(2**31)), Path(f"{c.folder}-measured")
    measured.write_text("")

    def ask() -> None:
        store = RunStore(c.folder)
        with store.alone(record.run_id):
            if store.usable(record.run_id) is None:
                with measured.open("a") as file:
                    file.write("x")
                time.sleep(0.02)
                store.put(record)

    processes = [_forked(ask) for _ in range(3)]
    killed = c.draw.random() < 0.5
    if killed:
        time.sleep(c.draw.random() * 0.03)
        processes[0].kill()  # where it has not ended by then
    for process in processes:
        process.join(LONGEST_S)
        c.counts["hangs"] += process.is_alive()
    c.counts["work repeated"] += max(0, len(measured.read_text()) - 1 - killed)
    c.finished[record.run_id] = record
    c.looked_through()


def killed_job(c: Campaign) -> None:
    """A worker of the dashboard is killed: its job ends as lost, and leaves nothing half made."""
    os.environ["TDQ_RUNS"] = str(c.folder)
    job = jobs.submit(Request(kind="run", spec=RunSpec.of(MODEL, "digits", samples=50, seed=c.draw.randrange(2**31))))
    time.sleep(c.draw.random() * 0.3)
    os.killpg(job.pid() or 0, signal.SIGKILL)
    deadline = time.monotonic() + LONGEST_S
    while (state := jobs.poll(job)).active and time.monotonic() < deadline:
        time.sleep(0.01)
    c.counts["hangs"] += state.active
    c.counts["leftovers"] += (job.folder / "tmp").exists()
    c.counts["not told"] += not (state.state == "lost" and state.reason)


def killed_run(c: Campaign) -> None:
    """A run is killed while it measures, and asked for again: what it had kept is not measured again."""
    from tdq_core.pipeline.run import run

    spec = RunSpec.of(MODEL, "digits", samples=40, seed=c.draw.randrange(2**31)).changed(latency=True)
    process = _forked(lambda: run(spec, store=RunStore(c.folder)) and None)
    time.sleep(c.draw.random() * 1.5)
    os.kill(process.pid or 0, c.draw.choice((signal.SIGKILL, signal.SIGTERM)))
    process.join()
    kept = set(RunStore(c.folder).paths())
    times = {path: path.stat().st_mtime_ns for path in kept}
    _forked(lambda: run(spec, store=RunStore(c.folder)) and None).join()
    c.counts["work repeated"] += sum(path.stat().st_mtime_ns != before for path, before in times.items())
    new = set(RunStore(c.folder).paths()) - {c.folder / f"{name}.json" for name in c.finished}
    c.counts["runs lost"] += not new
    c.finished |= {path.stem: RunStore(c.folder).read(path) for path in new}
    c.looked_through()
    c.counts["leftovers"] += len(list(Path(tempfile.gettempdir()).glob(f"{leftovers.FOLDER}*")))


def open_pages(c: Campaign) -> None:
    """Every page, with all files that were damaged in its folder, among them studies, recipes and jobs."""
    from streamlit.testing.v1 import AppTest

    damaged = Path(f"{c.folder}-damaged")
    damaged.mkdir(exist_ok=True)
    shutil.copytree(c.folder, damaged, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "jobs"))
    for kind in (STUDIES, RECIPES):
        for value in Store(kind, shipped_folder()).found().values[:2]:
            _damage_any(Store(kind, damaged).put(value), c.draw)
    os.environ["TDQ_RUNS"] = str(damaged)
    router = Path(__file__).resolve().parent.parent / "dashboard" / "app.py"
    for address in PAGES:
        page = AppTest.from_file(str(router), default_timeout=300).run()
        if address != PAGES[0]:
            page = page.switch_page(f"views/{address}.py").run()
        c.counts["pages broken"] += len(page.exception) > 0
        c.counts["not told"] += not page.warning
    shutil.rmtree(damaged, ignore_errors=True)


def _damage_any(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


FAULTS: dict[Callable[[Campaign], None], int] = {
    damaged_file: 10, killed_writer: 6, full_disk: 4, two_writers: 3, killed_job: 1, killed_run: 1,
}  # fmt: skip
"""How often each is drawn, beside the others."""


def campaign(faults: int, *, seeded: int = 0, pages_every: int = 50, without: Sequence[str] = ()) -> Campaign:
    """So many faults, and what came of them."""
    kinds = {fault: often for fault, often in FAULTS.items() if fault.__name__ not in without}
    with tempfile.TemporaryDirectory() as name, _environment(TDQ_RUNS=name, TMPDIR=f"{name}/tmp"):
        Path(name, "tmp").mkdir()
        c = Campaign(Path(name) / "runs", seeded)
        for seed in range(5):
            c.keep(c.record(seed))
        for number in range(1, faults + 1):
            (fault,) = c.draw.choices(list(kinds), list(kinds.values()))
            c.injected[fault.__name__] += 1
            fault(c)
            if number % pages_every == 0 or number == faults:
                open_pages(c)
    return c


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before, where = dict(os.environ), tempfile.tempdir
    os.environ.update(values)
    tempfile.tempdir = None
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = where


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    c = campaign(options.faults, seeded=options.seed)
    print(f"{c.injected.total()} faults, {len(c.finished)} finished runs: {dict(c.injected)}")
    print("\n".join(f"{what:<14}{c.counts[what]}" for what in COUNTED))
    if any(c.counts[what] for what in COUNTED):
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
