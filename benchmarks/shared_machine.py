"""How work bears a machine that others use too: the same work with the cores free, and with busy processes beside it.

    python -m benchmarks.shared_machine --model resnet20_cifar10 --data cifar10-jpeg:FOLDER [--ratio 1.67] [--busy 2]

Of each piece of work the seconds quiet and busy, and the ratio: factors by CP + EPC from a cold cache, the same again
(from the cache), factors by Tucker-2 fitted to outputs, and the evaluation of all test images with each number of
threads and as TDQ chooses them. Each in a process of its own, as a command is.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tdq_core.cli.terminal import say, say_table
from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import Made, apply_plan
from tdq_core.compression.memory import Memory
from tdq_core.pipeline.build import options_of
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.pipeline.session import Session
from tdq_core.ranks.plan import make_plan
from tdq_core.records.caches import CACHES
from tdq_core.records.store import runs_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.cache import Cache
from tdq_core.system.threads import free_threads, threads

WORK = ("cp + epc", "cp + epc again", "tucker2 calibrated", "evaluate 1 thread", "evaluate all threads", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_machine", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar10")
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--ratio", type=float, default=1.67)
    parser.add_argument("--busy", type=int, default=2, help="processes beside it")
    parser.add_argument("--work", default=",".join(WORK), help="which pieces, with commas between")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_timed(given.one, given)))
        return
    rows = []
    for work in given.work.split(","):
        found = []
        for busy in (0, given.busy):
            with tempfile.TemporaryDirectory() as runs, _beside(busy):
                if work.endswith("again"):
                    _in_a_process(work.removesuffix(" again"), given, Path(runs))
                found.append(_in_a_process(work, given, Path(runs)))
        (quiet, first), (busy_seconds, second) = found
        same = "-" if first is None else "same" if first == second else "OTHER"
        rows.append((work, f"{quiet:.2f}", f"{busy_seconds:.2f}", f"{busy_seconds / quiet:.1f}x", same))
        say(f"{work}: {quiet:.2f} s quiet, {busy_seconds:.2f} s beside {given.busy} busy processes")
    say_table(("work", "quiet, s", "busy, s", "ratio", "result"), rows, right=("quiet, s", "busy, s", "ratio"))


@contextlib.contextmanager
def _beside(count: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _in_a_process(work: str, given: argparse.Namespace, runs: Path) -> tuple[float, str | None]:
    command = [sys.executable, "-m", "benchmarks.shared_machine", "--one", work, "--model", given.model, "--data",
               given.data, "--ratio", str(given.ratio)]  # fmt: skip
    done = subprocess.run(command, env=os.environ | {"TDQ_RUNS": str(runs)}, capture_output=True, text=True, check=True)
    seconds, result = json.loads(done.stdout.splitlines()[-1])
    return seconds, result


def _timed(work: str, given: argparse.Namespace) -> tuple[float, str | None]:
    """The seconds of one piece of work, opening left out, and a digest of the factors."""
    rule, calibrated = RankRule("ratio", given.ratio), work.startswith("tucker2")
    if work.startswith("evaluate"):
        spec = RunSpec.of(given.model, given.data)
    elif calibrated:
        spec = RunSpec.of(given.model, given.data, method="tucker2", rule=rule, calibrated=True, calib_samples=512)
    else:
        spec = RunSpec.of(given.model, given.data, method="cp", epc=True, rule=rule)
    inputs = Session().open(spec)
    if work.startswith("evaluate"):
        outcomes(lambda batch: batch.flatten(1), inputs.images, inputs.model.preprocessing)  # images decoded
        begun = time.perf_counter()
        _evaluate(work, inputs.model.module, inputs)
        return time.perf_counter() - begun, None
    plan = make_plan(inputs.table(spectra=True), spec.method, rule)
    memory = Memory(Cache(runs_folder() / CACHES["factors"].folder))
    begun = time.perf_counter()
    with free_threads():
        if calibrated:
            _, made = apply_calibrated(inputs.model.module, plan, inputs.calibration, options=Options(), memory=memory)
        else:
            _, made = apply_plan(inputs.model.module, plan, options=options_of(inputs), memory=memory)
    return time.perf_counter() - begun, _digest(made)


def _evaluate(work: str, module: torch.nn.Module, inputs) -> None:
    if work == "evaluate":
        outcomes(module, inputs.images, inputs.model.preprocessing)
        return
    with threads(1 if "1 thread" in work else torch.get_num_threads()), torch.inference_mode():
        for batch, _ in inputs.images.batches(inputs.model.preprocessing):
            module(batch)


def _digest(made: Made) -> str:
    total = hashlib.sha256()
    for name in sorted(made):
        for tensor in made[name].module.state_dict().values():
            total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


if __name__ == "__main__":
    main()
