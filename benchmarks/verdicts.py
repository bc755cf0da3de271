"""How often is *shown* false? Measured networks with known truth are asked as the page Find asks the runs.

    python -m benchmarks.verdicts [--repeats 1000] [--seed 0]

Of every run the share of images that it loses and wins against the dense network is set. Images are drawn, the smallest
file that keeps the bound on one half of them is chosen, and the other half judges: what the page says is held against
the truth. A 95 % interval ends below the truth in 2.5 % of all cases, so no more than that may be called *shown* where
the bound is not kept. `shared`: runs lose the same images, as real ones nearly do; else each loses its own.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dashboard.facts.budget import Budget, answer
from tdq_core.cli.terminal import say
from tdq_core.records.record import Metrics, RunRecord
from tdq_core.specs import RankRule, RunSpec
from tdq_core.stats.verdict import Verdict

RATE = 0.025
"""Of false *shown*, as stated."""
BOUND = 1.0
"""Points."""
SIZES = (700, 1000, 5000)
"""Images, of which one half chooses and the other judges."""
TOP1 = 0.85
BEYOND = 1e-9
"""Of images: so far beyond the bound is missed, and nothing else in the world tells it."""


class Truth(NamedTuple):
    """Networks, smallest file first: the drop of each (points), and what each wins back (points)."""

    name: str
    drops: tuple[float, ...]
    won: float = 0.5
    shared: bool = False


TRUTHS = (
    Truth("one run, just beyond the bound", (BOUND + BEYOND,)),
    Truth("one run, just beyond, nothing won", (BOUND + BEYOND,), won=0.0),
    Truth("twelve runs, all just beyond", (BOUND + BEYOND,) * 12),
    Truth("twelve runs, all just beyond, the same images", (BOUND + BEYOND,) * 12, shared=True),
    Truth("a ladder from 3 to 0.2 points", (3.0, 2.5, 2.0, 1.6, 1.3, 1.1, 1.01, 0.9, 0.7, 0.5, 0.3, 0.2), shared=True),
    Truth("a ladder, nothing won", (3.0, 2.5, 2.0, 1.6, 1.3, 1.1, 1.01, 0.9, 0.7, 0.5, 0.3, 0.2), won=0.0, shared=True),
    Truth("twelve runs that lose nothing", (0.0,) * 12),
)


def drawn(truth: Truth, n: int, rng: np.random.Generator) -> list[RunRecord]:
    """The runs as they would be measured on n images."""
    dense = rng.random(n) < TOP1
    base = _metrics(dense, 4_000_000)
    luck = rng.random(n)
    found = []
    for place, drop in enumerate(truth.drops):
        own = luck if truth.shared else rng.random(n)
        lost, won = (drop + truth.won) / 100 / TOP1, truth.won / 100 / (1 - TOP1)
        correct = np.where(dense, own >= lost, own < won)
        spec = RunSpec.of("digits_resnet", "digits", method="tucker2", rule=RankRule("ratio", 2.0 + place))
        found.append(
            RunRecord(run_id=f"{place:016x}", state="complete", spec=spec, baseline=base,
                      metrics=_metrics(correct, 1_000_000 + place), layers=(), notes=(), digests={}, provenance={})
        )  # fmt: skip
    return found


def _metrics(correct: np.ndarray, size: int) -> Metrics:
    return Metrics.measured(correct, params=size // 4, macs=1, bytes=size, dense_params=1_000_000)


def verdicts(truth: Truth, n: int, rng: np.random.Generator, repeats: int) -> Counter[str]:
    """What the page says, counted: 'none' where nothing keeps the bound on the half that chooses, the verdict on the
    chosen run, and 'false' of those that are *shown* and do not keep it."""
    said: Counter[str] = Counter()
    for _ in range(repeats):
        best = answer(drawn(truth, n, rng), Budget(BOUND)).best
        said[str(best.verdict) if best else "none"] += 1
        said["false"] += bool(best and best.verdict == Verdict.SHOWN and _drop(truth, best.record.run_id) > BOUND)
    return said


def _drop(truth: Truth, run_id: str) -> float:
    return truth.drops[int(run_id, 16)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    say(f"Bound {BOUND:g} point; of {asked.repeats} repetitions, in per cent. Stated: false at most {100 * RATE:g} %.")
    say(
        "| truth | images | shown | of which false | consistent | missed | none chosen |",
        "|---|---|---|---|---|---|---|",
    )
    rng, every = np.random.default_rng(asked.seed), Counter[str]()
    for truth in TRUTHS:
        for n in SIZES:
            said = verdicts(truth, n, rng, asked.repeats)
            every += said
            shares = (f"{100 * said[name] / asked.repeats:.1f}" for name in _COLUMNS)
            say(f"| {truth.name} | {n} | {' | '.join(shares)} |")
    chosen = sum(every[name] for name in Verdict)
    say(
        f"Of {chosen:,} verdicts in all, {every['false']} are *shown* and false: {100 * every['false'] / chosen:.2f} %."
    )


_COLUMNS = (str(Verdict.SHOWN), "false", str(Verdict.CONSISTENT), str(Verdict.MISSED), "none")

if __name__ == "__main__":
    main()
