"""Many visitors on one server, with a job at work: how long a page takes, what goes wrong, how much memory.

    python -m benchmarks.visitors [--visitors 20] [--minutes 5] [--think 15] [--data cifar10-jpeg:FOLDER]

Visitors speak Streamlit's own protocol, one connection each: they open a page, look at it for `--think` seconds (on
average; drawn from an exponential distribution), and go to another one; parts of a page that ask again by themselves
do so. A switch takes from the request until the server says that the page is whole; what a browser then needs to draw
it is not in it. Meanwhile jobs measure runs in the same folder, one after the other. Prints the quantiles of all
switches and of each page's, exceptions, and the server's memory.
"""

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from tdq_core.cli.dashboard import server_command
from tdq_core.cli.terminal import say, say_table
from tdq_core.jobs.queue import Request, poll, submit
from tdq_core.specs import RankRule, RunSpec

PATIENCE = 120.0
"""Seconds after which a page counts as one that never came."""


class Seen:
    """What all visitors have seen together."""

    def __init__(self) -> None:
        self.switches: dict[str, list[float]] = defaultdict(list)
        self.again: list[float] = []
        self.faults: list[str] = []


class Visitor:
    """One connection to the server."""

    def __init__(self, connection: ClientConnection, seen: Seen, draw: random.Random) -> None:
        self._connection, self._seen, self._draw = connection, seen, draw
        self._pages: dict[str, str] = {}
        self._page, self._query = "", ""
        self._timers: dict[str, tuple[float, float]] = {}

    async def stay(self, until: float, think: float) -> None:
        """Open the first page, then others, until that moment."""
        await self._ask("")
        while time.monotonic() < until:
            await self._look(min(until, time.monotonic() + self._draw.expovariate(1 / think)))
            others = [name for name in self._pages if name != self._page]
            if others and time.monotonic() < until:
                await self._ask(self._draw.choice(others))

    async def _look(self, until: float) -> None:
        """Stay on the page; what asks again by itself does so."""
        while (now := time.monotonic()) < until:
            due = min((at for at, _ in self._timers.values()), default=until)
            if due > now:
                await asyncio.sleep(min(due, until) - now)
                continue
            fragment = min(self._timers, key=lambda name: self._timers[name][0])
            interval = self._timers[fragment][1]
            self._timers[fragment] = (now + interval, interval)
            took = await self._request(self._pages.get(self._page, ""), fragment)
            self._seen.again.append(took)

    async def _ask(self, page: str) -> None:
        self._timers.clear()
        took = await self._request(self._pages.get(page, ""), "")
        self._page = page or self._page
        self._seen.switches[page or "(first)"].append(took)

    async def _request(self, page_hash: str, fragment: str) -> float:
        """Seconds until the answer is whole."""
        message = BackMsg()
        message.rerun_script.page_script_hash = page_hash
        message.rerun_script.fragment_id = fragment
        message.rerun_script.is_auto_rerun = bool(fragment)
        begun = time.monotonic()
        await self._connection.send(message.SerializeToString())
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answered()
        except TimeoutError:
            self._seen.faults.append(f"no answer in {PATIENCE:.0f} s")
        return time.monotonic() - begun

    async def _answered(self) -> None:
        """Take messages until one says that the script has come to its end."""
        while True:
            raw = await self._connection.recv()
            message = ForwardMsg.FromString(raw if isinstance(raw, bytes) else raw.encode())
            kind = message.WhichOneof("type")
            if kind == "navigation":
                self._pages = {p.url_pathname or p.page_name: p.page_script_hash for p in message.navigation.app_pages}
                self._page = self._page or next(iter(self._pages))
            elif kind == "auto_rerun":
                interval = message.auto_rerun.interval
                self._timers[message.auto_rerun.fragment_id] = (time.monotonic() + interval, interval)
            elif kind == "stop_auto_rerun":
                for fragment in message.stop_auto_rerun.fragment_ids:
                    self._timers.pop(fragment, None)
            elif kind == "new_session" and not message.metadata.run.fragment_ids:
                self._timers.clear()  # the whole page is drawn anew, and says again what is to be asked for
            elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
                self._seen.faults.append(f"{self._page}: {message.delta.new_element.exception.message}")
            elif kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return


@contextlib.contextmanager
def _server(port: int, runs: Path) -> Iterator[psutil.Process]:
    command = [*server_command(port, ())[:-1], "--server.headless", "true", "--"]
    with (runs / "server.txt").open("w") as out:
        process = subprocess.Popen(command, env=os.environ | {"TDQ_RUNS": str(runs)}, stdout=out, stderr=out)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1).close()
                    break
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


async def _visit(number: int, port: int, until: float, think: float, seen: Seen) -> None:
    draw = random.Random(number)
    await asyncio.sleep(draw.uniform(0, think))
    address = f"ws://localhost:{port}/_stcore/stream"
    async with connect(address, subprotocols=["streamlit"], max_size=None) as connection:  # type: ignore[list-item]
        await Visitor(connection, seen, draw).stay(until, think)


async def _work(until: float, data: str, runs: Path, seen: Seen) -> int:
    """Jobs one after the other, each of them a run that is not measured yet; how many ended."""
    ended, ratio = 0, 1.5
    while time.monotonic() < until:
        spec = RunSpec.of("resnet20_cifar10", data, method="tucker2", rule=RankRule("ratio", ratio), samples=1000)
        job = submit(Request(kind="run", spec=spec), folder=runs / "jobs")
        while (state := poll(job)).active and time.monotonic() < until:
            await asyncio.sleep(1)
        if state.state not in ("done", "running", "queued"):
            seen.faults.append(f"a job: {state.reason}")
        ended, ratio = ended + (state.state == "done"), ratio + 0.01
    return ended


async def _watch(server: psutil.Process, until: float) -> list[int]:
    sizes = []
    while time.monotonic() < until:
        sizes.append(server.memory_info().rss)
        await asyncio.sleep(1)
    return sizes


async def _all(asked: argparse.Namespace, runs: Path, server: psutil.Process, seen: Seen) -> None:
    until = time.monotonic() + 60 * asked.minutes
    visits = [_visit(n, asked.port, until, asked.think, seen) for n in range(asked.visitors)]
    work = asyncio.ensure_future(_work(until, asked.data, runs, seen) if asked.data else asyncio.sleep(0, 0))
    watching = asyncio.ensure_future(_watch(server, until))
    for fault in await asyncio.gather(*visits, return_exceptions=True):
        if fault is not None:
            seen.faults.append(f"a visitor: {fault!r}")
    sizes, cpu = await watching, server.cpu_times()
    say(f"{asked.visitors} visitors for {asked.minutes:g} minutes, {await work} runs measured meanwhile.")
    say(f"Server: {sizes[0] / 1e6:.0f} MB at first, {max(sizes) / 1e6:.0f} MB at most, {sizes[-1] / 1e6:.0f} MB at the "
        f"end; {cpu.user + cpu.system:.0f} CPU s.")  # fmt: skip


def _row(name: str, took: list[float]) -> tuple[str, ...]:
    cuts = statistics.quantiles(took, n=20, method="inclusive") if len(took) > 1 else took * 19
    return name, str(len(took)), f"{cuts[9]:.2f}", f"{cuts[18]:.2f}", f"{max(took):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visitors", description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--think", type=float, default=15.0, help="seconds on a page, on average")
    parser.add_argument("--data", default="", help="images that jobs measure on; none: no jobs")
    parser.add_argument("--port", type=int, default=8599)
    asked = parser.parse_args()
    seen = Seen()
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name)
        os.environ["TDQ_RUNS"] = name
        with _server(asked.port, runs) as server:
            asyncio.run(_all(asked, runs, server, seen))
        told = (runs / "server.txt").read_text()
    switches = [s for took in seen.switches.values() for s in took]
    rows = [_row("all", switches), *(_row(page, took) for page, took in sorted(seen.switches.items()))]
    rows += [_row("by itself", seen.again)] if seen.again else []
    say_table(("page", "switches", "median, s", "p95, s", "most, s"), rows,
              right=("switches", "median, s", "p95, s", "most, s"))  # fmt: skip
    tracebacks = told.count("Traceback")
    say(f"{len(seen.faults)} faults, {tracebacks} tracebacks of the server.")
    for fault in sorted(set(seen.faults)):
        say(f"  {fault}")
    if seen.faults or tracebacks:
        sys.exit(1)


if __name__ == "__main__":
    main()
