"""How often do intervals of a paired mean hold the truth where few images differ?

    python -m benchmarks.intervals

Drops: every table of lost and won images is weighed with its probability, so coverage is exact; interactions: draws.
"Misses high" is how often the truth lies above the interval (a loss that it flatters away), "misses low" below it; both
should be at most 2.5 %. Rows give the worst truth of those that are tried, and the mean width in images (n times its
share); the last row of the drops goes through the expected numbers in steps of a tenth. `docs/intervals.md` has the
tables and says what was chosen.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tdq_core.stats.score import Z95, score_interval

SIZES = (50, 200, 700, 1000, 5000)
"""Images."""
DISCORDANT = (0, 1, 2, 3, 5, 10)
"""Images that are expected to differ."""
LOST = (1.0, 0.75, 0.5)
"""Of these the share that is lost."""
TWICE = (0.0, 0.005, 0.5, 1.0)
"""Of the images that differ in an interaction the share that counts twice; 0.005 is what real runs have."""
DRAWS = 20_000
Counts = Mapping[int, int]
Ends = tuple[float, float]
Table = Mapping[tuple[int, ...], float]
"""How likely counts are, in the order of a truth's differences."""


class Method(NamedTuple):
    name: str
    ends: Callable[[Counts], Ends]


class Truth(NamedTuple):
    """Probabilities of the differences of one image."""

    n: int
    shares: Mapping[int, float]

    @property
    def mean(self) -> float:
        return sum(value * share for value, share in self.shares.items())


class Judged(NamedTuple):
    """How an interval does at one truth: probabilities, and the expected width in images."""

    covered: float
    high: float
    low: float
    width: float


Truths = Callable[[int, float], Iterator[Truth]]
"""Truths of n images of which so many are expected to differ."""
Tables = Callable[[Truth], Table]


def plain(counts: Counts) -> Ends:
    """Mean ± 1.96 standard errors."""
    return _normal(counts, {})


def agresti_min(counts: Counts) -> Ends:
    """Half an image more in each of four cells: two of them without a difference (Agresti and Min 2005)."""
    return _normal(counts, {-1: 0.5, 0: 1.0, 1: 0.5})


def bonett_price(counts: Counts) -> Ends:
    """One image more in each discordant cell (Bonett and Price 2012)."""
    return _normal(counts, {-1: 1.0, 1: 1.0})


def bonett_price_twice(counts: Counts) -> Ends:
    """One image more at each of the largest differences of an interaction."""
    return _normal(counts, {-2: 1.0, 2: 1.0})


def tango(counts: Counts) -> Ends:
    """The score interval (Tango 1998)."""
    return score_interval(counts, 1)


def score_as_seen(counts: Counts) -> Ends:
    """The score interval of an interaction as if an image could count once, unless one is seen to count twice."""
    return score_interval(counts, 2 if counts.get(2) or counts.get(-2) else 1)


def score_twice(counts: Counts) -> Ends:
    """The score interval of an interaction: an image can count twice."""
    return score_interval(counts, 2)


DROPS = (
    Method("mean ± 1.96 se", plain),
    Method("Agresti-Min", agresti_min),
    Method("Bonett-Price", bonett_price),
    Method("score (Tango)", tango),
)
INTERACTIONS = (
    Method("Agresti-Min", agresti_min),
    Method("Bonett-Price, ±1", bonett_price),
    Method("Bonett-Price, ±2", bonett_price_twice),
    Method("score, ±2 if seen", score_as_seen),
    Method("score, ±2", score_twice),
)


def _normal(counts: Counts, added: Mapping[int, float]) -> Ends:
    cells = {value: counts.get(value, 0) + added.get(value, 0.0) for value in {*counts, *added}}
    n = sum(cells.values())
    mean, square = (sum(c * value**power for value, c in cells.items()) / n for power in (1, 2))
    half = Z95 * math.sqrt(max(square - mean**2, 0.0) / n)
    return mean - half, mean + half


@functools.cache
def _ends(method: Method, counts: tuple[tuple[int, int], ...]) -> Ends:
    return method.ends(dict(counts))


def judge(method: Method, truth: Truth, table: Table) -> Judged:
    """How the interval does over the counts of `table`."""
    told = np.zeros(4)
    for counts, weight in table.items():
        low, high = _ends(method, tuple(zip(truth.shares, counts, strict=True)))
        inside = low <= truth.mean <= high
        told += weight * np.array([inside, truth.mean > high, truth.mean < low, truth.n * (high - low)])
    return Judged(*(told / sum(table.values())).tolist())


def drop_truths(n: int, discordant: float) -> Iterator[Truth]:
    """A drop: of the discordant images this share is lost, the others are won."""
    for lost in LOST:
        share = discordant / n
        yield Truth(n, {0: 1 - share, 1: share * lost, -1: share * (1 - lost)})


def interaction_truths(n: int, discordant: float) -> Iterator[Truth]:
    """An interaction: of the discordant images some count twice."""
    for twice in TWICE:
        for lost in LOST:
            share = discordant / n
            parts = {v * sign: share * of * side for v, of in ((1, 1 - twice), (2, twice))
                     for sign, side in ((1, lost), (-1, 1 - lost))}  # fmt: skip
            yield Truth(n, {0: 1 - share} | parts)


def every_table(truth: Truth) -> Table:
    """All counts of a drop that are worth counting, with their probabilities (trinomial)."""
    expected = truth.n * (truth.shares[1] + truth.shares[-1])
    most = min(truth.n, round(expected + 7 * expected**0.5 + 7))
    log = [math.log(p) if p > 0 else -math.inf for p in truth.shares.values()]
    found = {}
    for won in range(most + 1):
        for lost in range(most - won + 1):
            counts = (truth.n - won - lost, lost, won)
            ways = math.lgamma(truth.n + 1) - sum(math.lgamma(c + 1) for c in counts)
            weight = math.exp(ways + sum(c * p for c, p in zip(counts, log, strict=True) if c))
            if weight > 1e-10:
                found[counts] = weight
    return found


def drawn_tables(truth: Truth, rng: np.random.Generator, draws: int = DRAWS) -> Table:
    """Counts of `draws` samples, with how often each came."""
    samples = rng.multinomial(truth.n, list(truth.shares.values()), size=draws)
    tables, times = np.unique(samples, axis=0, return_counts=True)
    return {tuple(t.tolist()): float(k) for t, k in zip(tables, times, strict=True)}


def worst(found: Sequence[Judged]) -> Judged:
    """Over truths: the least coverage, the most misses of each kind, and the mean width."""
    columns = list(zip(*found, strict=True))
    return Judged(min(columns[0]), max(columns[1]), max(columns[2]), sum(columns[3]) / len(found))


def _rows(methods: Sequence[Method], truths: Truths, tables: Tables, finely: bool = False) -> None:
    print(f"| expected to differ | {' | '.join(m.name for m in methods)} |\n|{'---|' * (len(methods) + 1)}")
    for discordant in DISCORDANT:
        _row(f"{discordant}", methods, [t for n in SIZES for t in truths(n, discordant)], tables)
    if finely:
        _row("0 to 12", methods, [t for n in SIZES for k in range(121) for t in truths(n, k / 10)], tables)
    print()


def _row(name: str, methods: Sequence[Method], truths: Sequence[Truth], tables: Tables) -> None:
    likely = [(truth, tables(truth)) for truth in truths]
    cells = [worst([judge(method, truth, table) for truth, table in likely]) for method in methods]
    told = (f"{c.covered:.3f}, {c.high:.3f} / {c.low:.3f}, {c.width:.1f}" for c in cells)
    print(f"| {name} | {' | '.join(told)} |", flush=True)


def main() -> None:
    rng = np.random.default_rng(0)
    print("Coverage at the worst truth, misses high / misses low, width in images. Drops:\n")
    _rows(DROPS, drop_truths, every_table, finely=True)
    print("Interactions:\n")
    _rows(INTERACTIONS, interaction_truths, lambda truth: drawn_tables(truth, rng))


if __name__ == "__main__":
    main()
