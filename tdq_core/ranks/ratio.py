"""Ranks that reach a whole-model compression ratio: every layer keeps the same share of its params. No torch."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from tdq_core.errors import Refused
from tdq_core.layers import LayerTable
from tdq_core.ranks.costs import Cost, Ranks

Ladder = Sequence[tuple[Ranks, Cost]]


def solve_ratio(table: LayerTable, ladders: Mapping[str, Ladder], ratio: float) -> dict[str, Ranks]:
    """Ranks by layer such that the model keeps at most params / `ratio`, so close to it that no rank can grow any more.

    One share of the params for all layers is found by bisection; what rounding down left over is then spent one rank
    step at a time.

    Raises:
        Refused: even the smallest ranks keep more than that; the sentence names the ratio that can be reached.
    """
    dense = {la.name: la.params for la in table.layers if la.name in ladders}
    budget = int(table.params / ratio) - (table.params - sum(dense.values()))
    smallest = sum(rungs[0][1].params for rungs in ladders.values())
    if budget < smallest:
        reach = table.params / (table.params - sum(dense.values()) + smallest)
        raise Refused(
            f"The ratio {ratio:g} is out of reach for '{table.model}' with this method: "
            f"rank 1 everywhere gives {reach:.3g}. Ask for less, use the method 'auto', "
            "or decompose the ends too (--decompose-ends)."
        )
    rungs = _same_share(dense, ladders, budget)
    _spend_the_rest(rungs, ladders, budget)
    return {name: ladders[name][rung][0] for name, rung in rungs.items()}


def _same_share(dense: Mapping[str, int], ladders: Mapping[str, Ladder], budget: int) -> dict[str, int]:
    """The highest rung of each ladder under one common share of the dense params that fits the budget."""
    prices = {name: [price.params for _, price in rungs] for name, rungs in ladders.items()}

    def at(share: float) -> dict[str, int]:
        return {n: max(bisect_right(p, share * dense[n]) - 1, 0) for n, p in prices.items()}

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        spent = sum(prices[n][rung] for n, rung in at(middle).items())
        low, high = (middle, high) if spent <= budget else (low, middle)
    return at(low)


def _spend_the_rest(rungs: dict[str, int], ladders: Mapping[str, Ladder], budget: int) -> None:
    """Climb one rung at a time, dearest steps first, round after round, until no step fits the budget any more."""
    left = budget - sum(ladders[n][rung][1].params for n, rung in rungs.items())
    while fitting := sorted((-step, n) for n in rungs if 0 < (step := _step(ladders[n], rungs[n])) <= left):
        for step, name in fitting:
            if -step <= left:
                left += step
                rungs[name] += 1


def _step(ladder: Ladder, rung: int) -> int:
    """Params that the next rung costs more than this one; 0 at the top."""
    return ladder[rung + 1][1].params - ladder[rung][1].params if rung + 1 < len(ladder) else 0
