"""One way in a process of its own, so that its time and memory are its own: `-m benchmarks.peers.making JSON`."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from msgspec import json as plain_json

NAME = "made.json"


class Made(Struct, frozen=True, kw_only=True):
    """What a way has left.

    Attributes:
        file: in its folder; None: `reason` says why there is none.
        bytes: of the file, with its weights where they lie beside it.
        seconds: of CPU, from the dense network to the file; peak_mb: the most memory that its process has held.
        versions: of its packages.
    """

    way: str
    file: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    versions: dict[str, str] = {}
    reason: str | None = None


def made(way: str, asked: dict[str, Any], folder: Path, *, limit: float) -> Made:
    """By this way within `limit` seconds, or as it was made before."""
    if (folder / NAME).exists():
        return plain_json.decode((folder / NAME).read_bytes(), type=Made)
    folder.mkdir(parents=True, exist_ok=True)
    words = json.dumps(asked | {"way": way, "folder": str(folder)})
    try:
        done = subprocess.run([sys.executable, "-m", "benchmarks.peers.making", words], capture_output=True, text=True,
                              env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2],
                              timeout=limit)  # fmt: skip
    except subprocess.TimeoutExpired:
        late = Made(way=way, reason=f"It was not done within {limit:g} s.")
        (folder / NAME).write_text(json.dumps(to_builtins(late)))  # it is not tried again
        return late
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        own = [line for line in lines if re.match(r"[\w.]+(Error|Failed|Refused|NotFound): ", line)]
        return Made(way=way, reason=(own or lines)[-1][:300])
    return plain_json.decode((folder / NAME).read_bytes(), type=Made)


def main(words: str) -> None:
    """Carry out one way, and write what came of it beside the file."""
    import tdq_core as tdq
    from benchmarks.peers.ways import WAYS, Subject
    from tdq_core.specs import RunSpec
    from tdq_core.system import machine

    asked = json.loads(words)
    (way,) = (each for each in WAYS if each.name == asked["way"])
    versions = {package: importlib.metadata.version(package) for package in way.packages}
    folder = Path(asked["folder"])
    spec = RunSpec.of(asked["network"], asked["data"], samples=asked["samples"], calib_samples=asked["calib_samples"])
    calib = tdq.images(asked["data"], samples=4, calib_samples=asked["calib_samples"]).calib
    assert calib, "named images have some"
    subject = Subject(tdq.load(asked["network"]), calib, spec, asked["ratio"], asked["speed"], folder)
    if way.before:
        way.before(subject)
    subject.begin()
    path = way.make(subject)
    taken = time.process_time() - subject.begun[0]
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    found = Made(
        way=way.name, file=path.name, bytes=sum(p.stat().st_size for p in (path, *beside)), seconds=taken,
        peak_mb=machine.peak_memory() / 2**20, versions=versions,
    )  # fmt: skip
    (folder / NAME).write_text(json.dumps(to_builtins(found)))


if __name__ == "__main__":
    main(sys.argv[1])
