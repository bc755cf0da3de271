"""Do the numeric tests hold whatever the kernels round? They are run under several settings of this CPU.

    python -m benchmarks.cpu_settings [TEST ...]

Prints one line a setting: tests that passed, that failed (and which), seconds of CPU. Settings that this CPU does not
have take nothing away: AVX-512 on a CPU without it is what it has. Without arguments: the files whose numbers are
learned or accumulated in floats. Exit code 1 where anything failed.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

THREADS = "OMP_NUM_THREADS"
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "as it is, 1 thread": {THREADS: "1"},
    "as it is, 2 threads": {THREADS: "2"},
    "oneDNN: AVX2": {THREADS: "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN: AVX-512": {THREADS: "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "MKL: AVX2": {THREADS: "1", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "ATen: AVX2": {THREADS: "1", "ATEN_CPU_CAPABILITY": "avx2"},
    "ATen: no vectors": {THREADS: "1", "ATEN_CPU_CAPABILITY": "default"},
    "all: AVX2, 1 thread": AVX2 | {THREADS: "1"},
    "all: AVX2, 2 threads": AVX2 | {THREADS: "2"},
}
SENSITIVE = (
    "tests/test_finetune.py", "tests/train", "tests/calibrate", "tests/quantize/test_simulated.py",
    "tests/quantize/test_realisations.py", "tests/quantize/test_fp16.py", "tests/test_condition.py",
    "tests/test_epc.py", "tests/test_cp.py", "tests/test_decompose.py", "tests/test_cached_runs.py",
)  # fmt: skip


class Outcome(NamedTuple):
    """Of one setting."""

    passed: int
    failed: tuple[str, ...]
    seconds: float


def carry_out(setting: Mapping[str, str], tests: Sequence[str]) -> Outcome:
    """Run the tests in a process of their own, for kernels are chosen when torch is loaded."""
    bare = {name: value for name, value in os.environ.items() if name not in {*AVX2, THREADS}}
    before = _children()
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-m", "not long", *tests]
    done = subprocess.run(command, env=bare | setting, capture_output=True, text=True, check=False)
    if not (passed := re.search(r"(\d+) passed", done.stdout)):
        sys.exit(f"The tests did not run:\n{done.stdout}{done.stderr}")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    return Outcome(int(passed[1]), tuple(failed), _children() - before)


def _children() -> float:
    """Seconds of CPU of all processes that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main(arguments: Sequence[str] = ()) -> None:
    tests, failures = tuple(arguments) or SENSITIVE, 0
    print(f"{'setting':<22}{'passed':>8}{'failed':>8}{'CPU s':>8}")
    for name, setting in SETTINGS.items():
        outcome = carry_out(setting, tests)
        failures += len(outcome.failed)
        print(f"{name:<22}{outcome.passed:>8}{len(outcome.failed):>8}{outcome.seconds:>8.0f}", flush=True)
        for test in outcome.failed:
            print(f"    {test}")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
