"""A file's answers from a process of its own, which loads nothing but what the file needs."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

import tdq_core
from tdq_core.errors import RunFailed

_LOOP = """
import json, os, sys
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever a library prints is no answer
exec(sys.argv[1])
foreign = sorted({name.partition(".")[0] for name in sys.modules} & {"tdq_core", "dashboard"})
answers.write(json.dumps(foreign).encode() + b"\\n")
answers.flush()
while head := sys.stdin.buffer.readline():
    shape = json.loads(head)
    images = np.frombuffer(sys.stdin.buffer.read(4 * int(np.prod(shape))), np.float32).reshape(shape).copy()
    logits = np.ascontiguousarray(predict(images), np.float32)
    answers.write(json.dumps(logits.shape).encode() + b"\\n" + logits.tobytes())
    answers.flush()
"""


class Fresh:
    """A process at work on one file."""

    def __init__(self, child: "subprocess.Popen[bytes]", errors: Path) -> None:
        self._child, self._errors = child, errors
        assert child.stdin and child.stdout
        self._to: IO[bytes] = child.stdin
        self._from: IO[bytes] = child.stdout
        self.foreign: list[str] = json.loads(self._line())
        """Parts of this project that the process has loaded."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits (N, classes) of images (N, C, H, W), float32."""
        try:
            self._to.write(json.dumps(images.shape).encode() + b"\n" + np.ascontiguousarray(images).tobytes())
            self._to.flush()
        except BrokenPipeError:
            raise self._ended() from None
        shape = json.loads(self._line())
        return np.frombuffer(self._bytes(4 * int(np.prod(shape))), np.float32).reshape(shape).copy()

    def _line(self) -> bytes:
        line = self._from.readline()
        if not line:
            raise self._ended()
        return line

    def _bytes(self, count: int) -> bytes:
        found = self._from.read(count)
        if len(found) < count:
            raise self._ended()
        return found

    def _ended(self) -> RunFailed:
        self._child.wait()
        said = [line for line in self._errors.read_text(errors="replace").splitlines() if line.strip()]
        words = said[-1].strip()[:300].rstrip(".") if said else "it said nothing"
        return RunFailed(f"The file was written, and a process of its own cannot run it: {words}.")


@contextlib.contextmanager
def fresh(load: str, *, alone: bool, scratch: Path) -> Iterator[Fresh]:
    """A new process that runs the lines `load` (see `loading`) and then answers batches.

    Args:
        alone: without this project: isolated from the environment's paths, and told of what it has loaded.
        scratch: a folder for what it complains of.

    Raises:
        RunFailed: the file cannot be loaded or run there.
    """
    errors = scratch / "fresh.txt"
    flags = ["-I"] if alone else []
    with errors.open("wb") as told:
        child = subprocess.Popen(
            [sys.executable, *flags, "-c", _LOOP, load], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told,
            env=_environment(alone),
        )  # fmt: skip
    try:
        yield Fresh(child, errors)
    finally:
        child.kill()
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                assert stream
                stream.close()
        child.wait()


def _environment(alone: bool) -> dict[str, str]:
    if alone:
        return dict(os.environ)
    here = str(Path(tdq_core.__file__).parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
