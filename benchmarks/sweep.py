"""What a sweep saves: the same runs by one `tdq sweep`, by one worker, and by a loop of separate `tdq run` calls.

    python -m benchmarks.sweep [--data DATA] [--images N] [--configurations N] [--only WHICH] [--one-in K]

Tucker-2 and CP + EPC at some ratios in three precisions (fp32, w8, int8 by ONNX Runtime), each way with folders of its
own: `loop` starts one process a run, without what earlier ones have found; `one` and `two` are sweeps on one and two
workers; `precision`, `ratio` and `images` ask for one more of each afterwards, in the folder of `two`. Prints seconds
of each, and what they are of the loop's. Records must agree in what is measured: the outcomes of every run are
compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sweep_files import document
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.specs.command import words_of
from tdq_core.sweeps.grid import grid_of
from tdq_core.sweeps.spec import sweep_of

PRECISIONS = ({"precision": "fp32"}, {"precision": "w8"}, {"precision": "int8", "backend": "onnxruntime"})
METHODS = ({"method": "tucker2"}, {"method": "cp", "epc": True})
RATIOS = (1.67, 1.25, 1.4, 1.5, 1.8, 2.0, 2.2, 2.5, 3.0, 4.0)


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def table(
    subject: Mapping[str, Any], ratios: Sequence[float], precisions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The grid: each ratio with each method, in each precision."""
    return {**subject, "ratio": list(ratios), "grid": [{**m, "grid": [dict(p) for p in precisions]} for m in METHODS]}


def loop(specs: Sequence[RunSpec], folder: Path, threads: str | None) -> None:
    """One `tdq run` a spec, each in a process of its own that finds no caches."""
    for number, spec in enumerate(specs):
        environment = _environment(folder / str(number), threads)
        subprocess.run(
            [sys.executable, "-m", "tdq_core", "run", *words_of(spec)], env=environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip


def sweep(grid: Mapping[str, Any], folder: Path, workers: int) -> None:
    """One `tdq sweep` of a grid."""
    path = folder.parent / f"{folder.name}.toml"
    path.write_text(document(grid))
    subprocess.run(
        [sys.executable, "-m", "tdq_core", "sweep", str(path), "--workers", str(workers)], check=True,
        env=_environment(folder, None), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _environment(folder: Path, threads: str | None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return own | {"TDQ_RUNS": str(folder)} | ({"OMP_NUM_THREADS": threads} if threads else {})


def records(*folders: Path) -> dict[str, RunRecord]:
    """Complete runs by id."""
    return {r.run_id: r for folder in folders for r in RunStore(folder).all() if r.state == "complete"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--model", default="resnet20_cifar10")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--configurations", type=int, default=60, help="a multiple of six")
    parser.add_argument("--threads", help="OMP_NUM_THREADS of the loop; the default is torch's own")
    parser.add_argument("--only", default="two,one,loop,precision,ratio,images", help="some of these, with commas")
    parser.add_argument("--one-in", type=int, default=1, help="the loop runs one in K, and counts K times their time")
    asked = parser.parse_args()
    ways = asked.only.split(",")
    subject = {"model": asked.model, "data": asked.data, "samples": asked.images}
    ratios = RATIOS[: asked.configurations // (len(METHODS) * len(PRECISIONS))]
    grid = table(subject, ratios, PRECISIONS)
    specs = grid_of(sweep_of(grid)).specs
    more = {
        "precision": table(subject, ratios, [{"precision": "fp16"}]),
        "ratio": table(subject, [1.9], PRECISIONS),
        "images": table({**subject, "samples": asked.images // 2}, ratios[:1], PRECISIONS[:1]),
    }
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for way in ways:
            work = {
                "loop": lambda: loop(specs[:: asked.one_in], root / "loop", asked.threads),
                "one": lambda: sweep(grid, root / "one", 1),
                "two": lambda: sweep(grid, root / "two", 2),
            }.get(way, lambda way=way: sweep(more[way], root / "two", 2))  # type: ignore[misc]
            took[way] = timed(work) * (asked.one_in if way == "loop" else 1)
            runs = len(specs) if way not in more else len(grid_of(sweep_of(more[way])).specs)
            times = f", loop / {way} = {took['loop'] / took[way]:.2f}" if "loop" in took else ""
            print(f"{way:10}{runs:4} runs {took[way]:8.1f} s{times}", flush=True)
        found = {way: records(*sorted((root / way).iterdir())) if way == "loop" else records(root / way)
                 for way in ("loop", "one", "two") if way in ways}  # fmt: skip
        print(json.dumps(_compared(found)))


def _compared(found: Mapping[str, Mapping[str, RunRecord]]) -> dict[str, int]:
    """How many runs two ways have in common, and how many of them differ in any image."""
    (_, first), *others = found.items()
    common = [(first[i], other[i]) for other in map(dict, (o for _, o in others)) for i in first.keys() & other.keys()]
    differ = sum(a.metrics.outcomes != b.metrics.outcomes for a, b in common if a.metrics and b.metrics)
    return {"compared": len(common), "different": differ}


if __name__ == "__main__":
    main()
