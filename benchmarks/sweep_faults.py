"""Is anything lost when parts of a sweep are killed? Real sweeps, kill -9 at random moments.

    python -m benchmarks.sweep_faults [--sweeps N] [--every S] [--seed N]

Each sweep measures 24 runs of the embedded default, on workers of its own or (every other one) on a Dask scheduler and
two workers in processes of their own. Every S seconds (about), eight times at most, one of its processes is killed: a
measuring process, a Dask worker, the client, the scheduler. What was killed for good is started again, the client by
the same command, until all is measured. Prints a line for each sweep and a total; exit code 1 where anything was lost,
torn, left behind or measured again although its record had come.
"""

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tdq_core.records.store import RunStore

SWEEP = """
model = "digits_resnet"
data = "digits"
samples = {samples}
method = ["svd", "tucker2"]
ratio = [1.7, 2.1, 2.3, 2.7]
precision = ["fp32", "fp16", "w8"]
"""
RUNS = 24 + 1  # and the dense one
MOST = 8
"""Kills of one sweep: then it must come to its end."""
PATIENCE_S = 1800.0
KINDS = {
    "measuring process": "tdq_core.sweeps.measurer", "worker": "dask_worker", "scheduler": "dask_scheduler",
    "client": "tdq_core",
}  # fmt: skip
"""What each is known by in its command line."""


class Trial:
    """One sweep in a folder of its own, and all of its processes."""

    def __init__(self, folder: Path, number: int, chance: random.Random, every: float) -> None:
        self.folder, self.chance, self.every = folder, chance, every
        self.kills: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.apart = number % 2 == 1
        self.port = _free_port()
        (folder / "sweep.toml").write_text(SWEEP.format(samples=40 + 2 * number))
        self.environment = os.environ | {
            "TDQ_RUNS": str(folder / "runs"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        (folder / "tmp").mkdir()
        self.helpers: list[subprocess.Popen[bytes]] = []

    def processes(self) -> list[psutil.Process]:
        """Those that were started for this trial, by whomever: they carry its folder in their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TDQ_RUNS") == self.environment["TDQ_RUNS"] and process.is_running():
                    found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
        return found

    def run(self) -> list[str]:
        """Everything that is not as it should be, when all is measured."""
        begun = time.monotonic()
        client, output = self._client()
        due = time.monotonic() + self._pause()
        while time.monotonic() - begun < PATIENCE_S:
            time.sleep(0.2)
            self._keep_helpers()
            if client.poll() is not None:
                self._count(output)
                if client.returncode == 0:
                    return [*self._faults(), *self._left_behind()]
                client, output = self._client()
                due = time.monotonic() + self._pause()
            elif time.monotonic() > due and sum(self.kills.values()) < MOST:
                self._kill()
                due = time.monotonic() + self._pause()
        client.kill()
        return ["hung", *self._left_behind()]

    def _pause(self) -> float:
        return self.every * self.chance.uniform(0.3, 1.7)

    def _client(self) -> tuple["subprocess.Popen[bytes]", Path]:
        self._keep_helpers()
        output = self.folder / f"client-{time.monotonic_ns()}.txt"
        where = ["--scheduler", f"tcp://127.0.0.1:{self.port}"] if self.apart else ["--workers", "2"]
        command = [sys.executable, "-m", "tdq_core", "sweep", str(self.folder / "sweep.toml"), *where]
        with output.open("wb") as file:
            return self._start(command, file), output

    def _keep_helpers(self) -> None:
        """The scheduler and workers of a cluster apart: what was killed is started again, as a service would."""
        if not self.apart:
            return
        at = f"tcp://127.0.0.1:{self.port}"
        common = ["--no-dashboard", "--host", "127.0.0.1"]
        commands = [["dask_scheduler", "--port", str(self.port), *common]]
        commands += [["dask_worker", at, *common, "--nthreads", "1", "--no-nanny", "--name", str(n)] for n in (1, 2)]
        for number, (name, *options) in enumerate(commands):
            if number < len(self.helpers) and self.helpers[number].poll() is None:
                continue
            with (self.folder / f"{name}.txt").open("ab") as file:
                started = self._start([sys.executable, "-m", f"distributed.cli.{name}", *options], file)
            self.helpers[number : number + 1] = [started]

    def _start(self, command: list[str], output: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=output, stderr=output,  # type: ignore[call-overload]
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def _kill(self) -> None:
        by_kind: dict[str, list[psutil.Process]] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                kind = next((kind for kind, sign in KINDS.items() if sign in words), None)
                if kind:
                    by_kind.setdefault(kind, []).append(process)
        if by_kind:
            kind = self.chance.choice(sorted(by_kind))
            with contextlib.suppress(psutil.Error):
                self.chance.choice(by_kind[kind]).send_signal(signal.SIGKILL)
                self.kills[kind] += 1

    def _count(self, output: Path) -> None:
        """Which runs this client told of as they came."""
        for line in output.read_text(errors="replace").splitlines():
            if "/" in line.split(" ")[0] and "%" in line:
                self.told[line.split(" ", 1)[1].rpartition(") ")[0]] += 1

    def _faults(self) -> list[str]:
        found = RunStore(self.folder / "runs").found()
        complete = [r for r in found.values if r.state == "complete"]
        faults = [f"{len(complete)} complete runs of {RUNS}"] if len(complete) != RUNS else []
        again = sum(self.told.values()) - len(self.told)
        return [*faults, *found.left_out, *([f"{again} measured again"] if again else [])]

    def _left_behind(self) -> list[str]:
        """Processes and temporary files that are there when all is done; helpers are ended first."""
        for helper in self.helpers:
            helper.terminate()
        for helper in self.helpers:
            helper.wait()
        deadline = time.monotonic() + 30
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.5)
        left = [f"process left: {' '.join(p.cmdline())[:80]}" for p in self.processes()]
        for process in self.processes():
            process.kill()
        torn = [str(p) for p in (self.folder / "runs").rglob("*.tmp")]
        return [*left, *torn]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--every", type=float, default=6.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    total: Counter[str] = Counter()
    bad = 0
    for number in range(asked.sweeps):
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(Path(folder), number, random.Random(f"{asked.seed}-{number}"), asked.every)
            begun = time.monotonic()
            faults = trial.run()
        total += trial.kills
        bad += len(faults)
        where = "a cluster apart" if trial.apart else "this machine"
        kills = ", ".join(f"{count} x {kind}" for kind, count in sorted(trial.kills.items())) or "none"
        print(
            f"{number}: {where}, {time.monotonic() - begun:.0f} s; killed: {kills}; {faults or 'all well'}", flush=True
        )
    print(f"{sum(total.values())} kills ({dict(total)}): {bad} faults")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
