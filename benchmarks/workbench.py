"""The page Explore under a deep network and many runs, in headless Chromium: how long until what is moved has moved.

    python -m benchmarks.workbench [--records 2000] [--moves 40] [--switches 24] [--shots FOLDER]

A fresh server, the 53 layers of ResNet-50, its shipped runs again and again with other seeds and outcomes, and made-up
sensitivities (how long the arithmetic takes does not depend on them). Measured: the first title and chart of the fresh
server; from a key on a rank slider to the moved point; from a link to the whole of another page, page by page. Where
the time goes: until the browser asks, until the server's last message (which the browser may be too busy to hear), the
server's CPU, and the rest, which is the browser's. The server must not have loaded torch. Other work on the machine is
in the numbers: the load average is printed with them.
"""

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from msgspec import structs

from benchmarks.many_records import make_records
from benchmarks.prediction_speed import made_up
from benchmarks.three_jobs import BROWSERS, PATIENCE_MS, settle, wait_until
from dashboard.pages import PAGES
from tdq_core.cli.dashboard import server_command
from tdq_core.cli.terminal import say, say_table
from tdq_core.layers.table import LayerTable
from tdq_core.prediction.sensitivity import SENSITIVITIES
from tdq_core.records.store import RUNS, Store, shipped_folder

MODEL = "resnet50_cifar10"
SUBJECT = f"{MODEL}@cifar10-jpeg@1000"
HEAVY = ("libtorch", "/torch/", "onnxruntime")
"""In the paths of files that a process has loaded."""
WATCH = """
window.tdq = {begun: 0, sent: 0, last: 0, moved: 0, bytes: 0};
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (message) {
  if (!this.watched) {
    this.watched = true;
    this.addEventListener('message', ({data}) => {
      tdq.last = performance.now();
      tdq.bytes += data.byteLength ?? data.size ?? data.length;
    });
  }
  if (!tdq.sent) tdq.sent = performance.now();
  return send.call(this, message);
};
window.tdqPlace = () => document.querySelector('.tdq-live')?.innerHTML;
window.tdqForget = () => { Object.assign(tdq, {begun: 0, sent: 0, last: 0, moved: 0, bytes: 0}); };
window.tdqAwait = () => {
  tdqForget();
  const before = tdqPlace();
  addEventListener('keydown', () => { tdq.begun = performance.now(); }, {once: true, capture: true});
  const look = () => {
    if (tdq.begun && tdqPlace() && tdqPlace() !== before) tdq.moved = performance.now();
    else requestAnimationFrame(look);
  };
  look();
};
"""
"""In the page: when a key was pressed, when the server was asked, when it last said something and how much it said,
when the point moved."""


class Switch(NamedTuple):
    """From a link to the whole of another page, in milliseconds.

    Attributes:
        page: its title.
        took: all of it; answered: from the server's being asked to its last message.
        busy: of the server's CPU; kilobytes: what it sent.
    """

    page: str
    took: float
    answered: float
    busy: float
    kilobytes: float


def fill(folder: Path, records: int) -> None:
    """Runs and sensitivities of the network."""
    make_records(folder, records, model=MODEL)
    table = LayerTable.read(next((shipped_folder() / "layers").glob(f"{MODEL}-*.json")))
    one = next(r for r in Store(RUNS, folder).found().values if r.spec.model.name == MODEL)
    found = made_up(table, MODEL, random.Random(0))
    Store(SENSITIVITIES).put(structs.replace(found, digests=found.digests | {"model": one.digests["model"]}))


@contextlib.contextmanager
def fresh_server(port: int) -> Iterator[psutil.Process]:
    """The dashboard, from its start until it answers and until it is ended."""
    environment = os.environ | {"STREAMLIT_SERVER_HEADLESS": "true"}
    command = server_command(port, ())
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health").close()
                break
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def first_sight(page: Any, address: str) -> tuple[float, float]:
    """Seconds until the title and until the first chart are there."""
    begun = time.monotonic()
    page.goto(address, wait_until="commit")
    wait_until(page, "document.querySelector('h1')")
    title = time.monotonic() - begun
    wait_until(page, "document.querySelector('.js-plotly-plot .main-svg .points')")
    return title, time.monotonic() - begun


def move(page: Any, key: str) -> dict[str, float]:
    """One step of a rank slider; milliseconds from the key until the server was asked, until it was done, and until the
    point had moved."""
    page.get_by_test_id("stSlider").filter(has_text="(of ").get_by_role("slider").first.focus()
    page.evaluate("tdqAwait()")
    page.keyboard.press(key)
    page.wait_for_function("tdq.moved", timeout=PATIENCE_MS)
    settle(page)
    seen: dict[str, float] = page.evaluate("tdq")
    return {name: seen[name] - seen["begun"] for name in ("sent", "last", "moved")}


def switch(page: Any, server: psutil.Process, title: str) -> Switch:
    """By its link to the whole of another page."""
    there = next(p for p in PAGES if p.title == title)
    page.evaluate("tdqForget()")
    spent, begun = busy(server), time.monotonic()
    page.get_by_role("link", name=title, exact=True).first.click()
    wait_until(page, "document.querySelector('h1')?.innerText === heading", heading=there.question or title)
    settle(page)
    took = 1000 * (time.monotonic() - begun)
    seen: dict[str, float] = page.evaluate("tdq")
    return Switch(title, took, seen["last"] - seen["sent"], busy(server) - spent, seen["bytes"] / 1000)


def busy(server: psutil.Process) -> float:
    """Milliseconds of CPU that the server has spent."""
    spent = server.cpu_times()
    return 1000 * (spent.user + spent.system)


def loaded(server: psutil.Process) -> list[str]:
    """Heavy libraries in the server's processes."""
    paths = {part.path for each in (server, *server.children(recursive=True)) for part in each.memory_maps()}
    return sorted(path for path in paths if any(name in path for name in HEAVY))


def _p95(took: Sequence[float]) -> float:
    ordered = sorted(took)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _row(what: str, took: Sequence[float]) -> tuple[str, ...]:
    return what, str(len(took)), f"{statistics.median(took):.0f}", f"{_p95(took):.0f}", f"{max(took):.0f}"


def tell_by_page(switches: Sequence[Switch]) -> None:
    """Which pages take the time, those that take most first, and how much of it is the server's."""
    found: dict[str, list[Switch]] = {}
    for one in switches:
        found.setdefault(one.page, []).append(one)
    rows = []
    for title, own in sorted(found.items(), key=lambda each: -max(s.took for s in each[1])):
        took = [s.took for s in own]
        values = (took[0], statistics.median(took), _p95(took), own[0].answered, own[0].busy,
                  statistics.median(s.answered for s in own), statistics.median(s.busy for s in own),
                  max(s.kilobytes for s in own))  # fmt: skip
        rows.append((title, str(len(own)), *(f"{value:.0f}" for value in values)))
    names = ("times", "first, ms", "median, ms", "p95, ms", "first: answered", "first: server's CPU", "answered",
             "server's CPU", "kB, most")  # fmt: skip
    say_table(("page switch to", *names), rows, right=names)


def measure(page: Any, server: psutil.Process, asked: argparse.Namespace) -> None:
    address = f"http://localhost:{asked.port}"
    title, chart = first_sight(page, f"{address}/?subject={SUBJECT}&method=auto&policy=uniform&ratio=1.5")
    page.wait_for_selector(".tdq-live .words", timeout=3 * PATIENCE_MS, state="attached")
    settle(page)
    say(f"Fresh server: title after {title:.2f} s, first chart after {chart:.2f} s.")
    if asked.shots:
        asked.shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=asked.shots / "workbench.png")
    before = busy(server)
    moves = [move(page, "ArrowLeft" if n % 2 else "ArrowRight") for n in range(asked.moves)]
    between = busy(server)
    rows = [
        _row("slider to moved point", [m["moved"] for m in moves]),
        _row("  until the server is asked", [m["sent"] for m in moves]),
        _row("  from there to its last message", [m["last"] - m["sent"] for m in moves]),
    ]
    titles = [p.title for p in PAGES]
    switches = [switch(page, server, titles[n % len(titles)]) for n in range(1, asked.switches + 1)]
    rows.append(_row("page switch", [s.took for s in switches]))
    after = busy(server)
    say_table(("what", "times", "median, ms", "p95, ms", "most, ms"), rows,
              right=("times", "median, ms", "p95, ms", "most, ms"))  # fmt: skip
    tell_by_page(switches)
    say(f"The server was busy for {(between - before) / asked.moves:.0f} ms a move and "
        f"{(after - between) / asked.switches:.0f} ms a switch, whatever else the machine did.")  # fmt: skip
    say(f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    heavy = loaded(server)
    assert not heavy, f"the server has loaded {', '.join(heavy[:3])}"
    say("The server has loaded neither torch nor ONNX Runtime.")


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(prog="python -m benchmarks.workbench", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--switches", type=int, default=24)
    parser.add_argument("--port", type=int, default=8647)
    parser.add_argument("--shots", type=Path, help="a folder for a picture")
    asked = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    with tempfile.TemporaryDirectory() as name:
        os.environ["TDQ_RUNS"] = str(Path(name) / "runs")
        fill(Path(name) / "runs", asked.records)
        with fresh_server(asked.port) as server, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.add_init_script(WATCH)
            measure(page, server, asked)


if __name__ == "__main__":
    main()
