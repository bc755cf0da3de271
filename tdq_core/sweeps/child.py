"""A worker's end of a measuring process: asks it for runs, and ends it where one takes too long or too much. No torch
here."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tdq_core.system.progress import Progress

TRIES = 3
"""Of a run whose process was killed from outside."""
_LOOK_EVERY_S = 0.2
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Processes side by side: one thread each unless the worker's environment says otherwise, and none of them spins."""


class Ended(Exception):
    """The measuring process ended without an answer.

    Attributes:
        reason: one sentence; again: it was killed from outside, so that the run may be asked for again.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


class Child:
    """A measuring process that is started when it is first needed, and anew where it has ended."""

    def __init__(self, temporary: Path, program: Sequence[str] = ("-m", "tdq_core.sweeps.measurer")) -> None:
        self.temporary, self.program = temporary, program
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.given_up = False

    def ask(
        self, request: dict[str, Any], *, timeout: float | None, memory: int | None, on_progress: Progress
    ) -> dict[str, Any]:
        """The answer to one request, see `tdq_core.sweeps.measurer`.

        Args:
            timeout: seconds; memory: bytes.

        Raises:
            Ended: the process was ended, here or elsewhere.
        """
        process = self._started()
        deadline = None if timeout is None else time.monotonic() + timeout
        with contextlib.suppress(OSError):
            assert process.stdin
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        while True:
            with contextlib.suppress(queue.Empty):
                line = self.lines.get(timeout=_LOOK_EVERY_S)
                if line is None:
                    raise self._ended(process)
                message = json.loads(line)
                if "stage" not in message:
                    return dict(message)
                on_progress(message["stage"], message["done"], message["total"])
            self._require_limits(process, deadline, timeout, memory)

    def _require_limits(
        self, process: subprocess.Popen[str], deadline: float | None, timeout: float | None, memory: int | None
    ) -> None:
        if deadline is not None and time.monotonic() > deadline:
            self.close()
            raise Ended(f"The run took longer than its {timeout:g} s and was ended: allow it more time.", again=False)
        taken = _memory_of(process.pid) if memory is not None else 0
        if memory is not None and taken > memory:
            self.close()
            raise Ended(
                f"The run took {taken / 1e9:.2f} GB of memory, more than the {memory / 1e9:.2f} GB of a worker, and "
                "was ended: use fewer workers, or allow them more memory.",
                again=False,
            )

    def _started(self) -> subprocess.Popen[str]:
        if self.given_up:
            raise Ended("The sweep was given up.", again=False)
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.temporary.mkdir(parents=True, exist_ok=True)
            self.lines = queue.Queue()
            self.process = subprocess.Popen(
                [sys.executable, *self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, encoding="utf-8", env=QUIET | os.environ | {"TMPDIR": str(self.temporary)},
            )  # fmt: skip
            threading.Thread(target=_read, args=(self.process, self.lines), daemon=True).start()
        return self.process

    def _ended(self, process: subprocess.Popen[str]) -> Ended:
        """Killed from outside it may succeed the next time; what ends by itself would end so again."""
        code = process.wait()
        self.close()
        again = code in (0, -signal.SIGKILL, -signal.SIGTERM)
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"the exit code {code}"
        return Ended(f"The run's process ended with {name} and without a result.", again=again)

    def give_up(self) -> None:
        """End the process for good."""
        self.given_up = True
        self.close()

    def close(self) -> None:
        """End the process, and what it was at."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    assert stream
                    stream.close()
            self.process = None
            shutil.rmtree(self.temporary, ignore_errors=True)


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert process.stdout
    with contextlib.suppress(OSError, ValueError):
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
