"""Where a sweep is measured: workers on this machine, or a Dask cluster that is there already.

On this machine the scheduler lives in the client's process, bound to 127.0.0.1, and every worker is a process of its
own with one thread; one that dies is started again. Workers end with the client, however that ends.
"""

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import distributed

from tdq_core.errors import InputError, NotNow, RunFailed
from tdq_core.sweeps.child import QUIET
from tdq_core.sweeps.worker import close_children
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.machine import free_memory

RESTARTS = 20
"""Of workers on this machine that died."""
CONNECT_S = 20.0
WORKERLESS_S = 60.0
_LOOK_EVERY_S = 5.0
_HOST = "127.0.0.1"


class Cluster:
    """Workers, and a client of them.

    Attributes:
        where: for sentences.
        memory: bytes that one worker's measuring process may take; None: nobody limits it.
    """

    def __init__(self, client: distributed.Client, where: str, memory: int | None) -> None:
        self.client, self.where, self.memory = client, where, memory

    def described(self) -> str:
        """Where the work is done, and within which limits: one sentence."""
        limit = f", at most {self.memory / 1e9:.1f} GB each" if self.memory else ""
        return f"{len(self.client.scheduler_info()['workers'])} workers of {self.where}{limit}"

    def look_after(self) -> None:
        """Called often.

        Raises:
            NotNow: the cluster is gone for good.
        """
        if self.client.status not in ("running", "newly-created"):
            raise NotNow(f"The connection to {self.where} is lost.")

    def capacity(self) -> int:
        """How many orders it can be at, at once."""
        return 1

    def leave(self, sweep: str) -> None:
        """The sweep is over, or given up: nothing of it stays behind with workers."""


class Remote(Cluster):
    """A cluster that others look after."""

    def __init__(
        self, client: distributed.Client, address: str, resources: Mapping[str, float], memory: int | None
    ) -> None:
        super().__init__(client, f"the scheduler at '{address}'", memory)
        self.address, self.resources = address, resources
        self.looked = self.seen = time.monotonic()
        self.room = 1

    def look(self) -> tuple[int, int]:
        """How many workers there are, and how many orders those can be at that have the resources."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        self.room = sum(map(self._room, workers))
        return len(workers), self.room

    def _room(self, worker: Mapping[str, Any]) -> int:
        have = worker.get("resources") or {}
        return min([worker["nthreads"], *(int(have.get(name, 0) / least) for name, least in self.resources.items())])

    def capacity(self) -> int:
        return max(1, self.room)

    def look_after(self) -> None:
        super().look_after()
        now = time.monotonic()
        if now - self.looked < _LOOK_EVERY_S:
            return
        self.looked = now
        if self.look()[1]:
            self.seen = now
        elif now - self.seen > WORKERLESS_S:
            raise NotNow(f"For {WORKERLESS_S:.0f} s no worker of {self.where} has been there to do the work.")

    def leave(self, sweep: str) -> None:
        if self.client.status == "running":
            _silently(self.client.run, close_children, sweep, on_error="ignore", wait=True)

    def require_workers(self) -> None:
        """Return where there are workers that will do; InputError where there are none."""
        deadline = time.monotonic() + CONNECT_S
        count, room = self.look()
        while not count and time.monotonic() < deadline:
            time.sleep(0.2)
            count, room = self.look()
        start = f"`dask worker {self.address} --nthreads 1"
        if not count:
            raise InputError(f"The scheduler at '{self.address}' has no workers: start them with {start}`.")
        if not room:
            asked = " ".join(f"{name}={wanted:g}" for name, wanted in self.resources.items())
            raise InputError(
                f"None of the {count} workers of '{self.address}' has the resources {asked}: start one with "
                f'{start} --resources "{asked}"`.'
            )


class Local(Cluster):
    """Workers on this machine, that are started again where they die."""

    def __init__(self, client: distributed.Client, address: str, folder: Path, workers: int, memory: int) -> None:
        super().__init__(client, "the workers on this machine", memory)
        self.memory: int = memory
        self.address, self.folder, self.restarts = address, folder, 0
        self.processes = [self._start(number) for number in range(workers)]

    def described(self) -> str:
        count = len(self.processes)
        return (
            f"{count} worker{'s' * (count > 1)} on this machine, one thread and {self.memory / 1e9:.1f} GB at most each"
        )

    def capacity(self) -> int:
        return len(self.processes)

    def look_after(self) -> None:
        super().look_after()
        for number, process in enumerate(self.processes):
            if process.poll() is None:
                continue
            self.restarts += 1
            if self.restarts > RESTARTS:
                said = (self.folder / f"{number}.txt").read_text(errors="replace").strip().splitlines()
                raise RunFailed(f"Workers on this machine end again and again; the last words: {said[-1:] or 'none'}.")
            self.processes[number] = self._start(number)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--no-nanny",
            "--no-dashboard", "--dashboard-address", f"{_HOST}:0",
            "--nthreads", "1", "--host", _HOST, "--memory-limit", "0", "--death-timeout", "30",
            "--name", f"{number + 1}-{self.restarts}" if self.restarts else f"{number + 1}",
            "--local-directory", str(self.folder),
        ]  # fmt: skip
        with (self.folder / f"{number}.txt").open("ab") as errors:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=os.environ | QUIET,
                start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        """End the workers; what they are at is lost."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@contextlib.contextmanager
def here(workers: int, memory: int | None = None) -> Iterator[Local]:
    """Workers on this machine.

    Args:
        memory: bytes for each; None: an equal share of nine tenths of what is free.
    """
    share = memory or int(0.9 * free_memory() / workers)
    with _quiet_logs(), temporary_folder() as folder, contextlib.ExitStack() as undo:
        undo.enter_context(dask.config.set({"temporary-directory": str(folder)}))
        scheduler = distributed.LocalCluster(
            n_workers=0, threads_per_worker=1, host=_HOST, protocol="tcp://", dashboard_address=None,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": 0, "dashboard": False, "dashboard_address": f"{_HOST}:0"},
        )  # fmt: skip
        undo.callback(_silently, scheduler.close, timeout=5)
        client = distributed.Client(scheduler, set_as_default=False)
        undo.callback(_silently, client.close, timeout=5)
        local = Local(client, scheduler.scheduler_address, folder, workers, share)
        undo.callback(local.stop)
        yield local


@contextlib.contextmanager
def at(address: str, resources: Mapping[str, float], memory: int | None = None) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address`.

    Raises:
        InputError: nobody answers there, it has no workers, or none with `resources`.
    """
    with _quiet_logs():
        try:
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"No scheduler answers at '{address}' ({type(error).__name__}): start one with `dask scheduler`, or "
                "name it as tcp://HOST:PORT."
            ) from error
        try:
            remote = Remote(client, address, resources, memory)
            remote.require_workers()
            yield remote
        finally:
            _silently(client.close, timeout=5)


def _silently(close: Any, *values: Any, **options: Any) -> None:
    """Close what may have gone already."""
    with contextlib.suppress(Exception):
        close(*values, **options)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Dask's own messages stay off the terminal: what matters is said in sentences."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
