"""Whatever a file says, TDQ answers with its value or with a sentence: thousands of files near good ones, kind by kind.

    python -m benchmarks.fuzz --inputs 20000 --seed 0

What is accepted is used wherever TDQ would use it. A fault is a traceback, or an answer that takes longer than ten
seconds; each is told with what was read, the exit code says that there was one, and the seed finds it again.
"""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks._addresses import looked_at
from benchmarks._damage import near
from benchmarks._readers import READERS, Reader

LONGEST_S = 10
TOLD = 10
"""Faults that are told in full."""
SHARES = {"record": 6, "address": 3}
"""Of the inputs; one where no other number stands here."""


class Fuzzed(NamedTuple):
    """How many inputs were accepted and refused, and what TDQ did not take as it should."""

    counts: Counter[str]
    faults: list[tuple[bytes, str]]


def fuzz_files(reader: Reader, inputs: int, *, seeded: int = 0) -> Fuzzed:
    """Read so many damaged files of one kind."""
    goods, found = reader.good(), Fuzzed(Counter(), [])
    assert goods, "there is something to begin with"

    @seed(seeded)
    @settings(
        max_examples=inputs, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def read(data: Any) -> None:
        content = data.draw(near(data.draw(st.sampled_from(goods))))
        with tempfile.TemporaryDirectory() as folder:
            try:
                value = _in_time(lambda: reader.read(Path(folder), content))
                found.counts["refused" if value is None else "accepted"] += 1
            except Exception:
                found.faults.append((content, traceback.format_exc()))

    signal.signal(signal.SIGALRM, _hangs)
    read()
    return found


def _in_time(work: Callable[[], Any]) -> Any:
    """What `work` gives; TimeoutError where it takes too long twice: a machine may halt a process for a while."""
    for last in (False, True):
        signal.alarm(LONGEST_S)
        try:
            return work()
        except TimeoutError:
            if last:
                raise
        finally:
            signal.alarm(0)
    raise AssertionError("one of them returns or raises")


def _hangs(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"no answer within {LONGEST_S} s")


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    kinds = [*READERS, "address"]
    whole = sum(SHARES.get(kind, 1) for kind in kinds)
    print("| what is read | inputs | accepted | refused | faults | CPU s |\n|---|---|---|---|---|---|", flush=True)
    faults = []
    for kind in kinds:
        inputs, start = -(-options.inputs * SHARES.get(kind, 1) // whole), time.process_time()
        if kind == "address":
            counts, new = looked_at(inputs, options.seed), []
        else:
            counts, new = fuzz_files(READERS[kind], inputs, seeded=options.seed)
        cells = (
            counts.total() + len(new),
            counts["accepted"],
            counts["refused"],
            len(new),
            time.process_time() - start,
        )
        print(f"| {kind} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |", flush=True)
        faults += new
    for content, told in faults[:TOLD]:
        print(f"\n{content!r:.400}\n{told}")
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
