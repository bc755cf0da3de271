"""Ranks that reach a whole-model ratio by shares of each layer's dense cost: the same for all, or by depth. No torch.

A cost is what the rule counts, see `tdq_core.ranks.budget`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tdq_core.errors import Refused
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import ladder


class Rung(NamedTuple):
    """Ranks of a layer, and what it costs at them."""

    ranks: Ranks
    price: int


Ladder = Sequence[Rung]
Prices = Mapping[str, Sequence[int]]
"""What each rung of each layer's ladder costs, ascending."""


def offered(layer: Layer, method: str, budget: Budget) -> Ladder:
    """The rungs of the layer's ladder that the rule allows: multiples, and cheaper than dense in the budget too."""
    return list(_allowed(layer, method, budget))


def offers(layer: Layer, method: str, budget: Budget) -> bool:
    """Whether there is such a rung."""
    return next(_allowed(layer, method, budget), None) is not None


def _allowed(layer: Layer, method: str, budget: Budget) -> Iterator[Rung]:
    dense, multiple = budget.dense(layer), budget.rule.multiple
    for ranks, known in ladder(layer, method):
        if multiple > 1 and any(r % multiple for r in ranks):
            continue
        price = getattr(known, budget.counts, None)  # of params and MACs it is known
        if price is None:
            price = budget.price(layer, method, ranks)
        if price < dense:
            yield Rung(ranks, price)


def allowance(layers: Iterable[Layer], budget: Budget) -> int:
    """What `layers` may cost together so that the whole model reaches the ratio."""
    return budget.allowed - _of_others(layers, budget)


def _of_others(layers: Iterable[Layer], budget: Budget) -> int:
    return budget.whole - sum(budget.dense(la) for la in layers)


def require_reach(layers: Sequence[Layer], budget: Budget, smallest: int, how: str = "") -> None:
    """Refuse a ratio that not even the cost `smallest` of `layers` reaches; `how` says how that is come to. Of bytes,
    one that rounding alone reaches too."""
    rule, model = budget.rule, budget.table.model
    asked = f"The ratio {rule.value:g}{f' of {budget.unit}' if rule.budget != 'params' else ''}"
    if smallest > allowance(layers, budget):
        reach = budget.original / (_of_others(layers, budget) + smallest)
        everywhere = "rank 1" if rule.multiple == 1 else f"the smallest multiples of {rule.multiple}"
        way_out = "share it out by another policy" if how else "use the method 'auto'"
        ways = f"less, {way_out}, or decompose the ends too" if rule.keep_ends else f"less, or {way_out}"
        raise Refused(
            f"{asked} is out of reach for '{model}' with this method: {how or f'{everywhere} everywhere gives'} "
            f"{reach:.3g}. Ask for {ways}."
        )
    if budget.whole <= budget.allowed:
        reach = budget.original / budget.whole
        raise Refused(
            f"{asked} leaves nothing to decompose in '{model}': dense, its file is {reach:.3g} times smaller at "
            f"'{budget.precision.name}' already. Ask for more, or for more bits."
        )


def bisected(fits: Callable[[float], bool]) -> float:
    """The largest share in [0, 1) that fits, to 50 bits; 0 is taken to fit, and more never to fit better."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def solve_ratio(layers: Sequence[Layer], ladders: Mapping[str, Ladder], budget: Budget) -> dict[str, Ranks]:
    """Ranks by layer such that the model reaches the ratio, so close to it that no rank can grow any more.

    One share of the cost for all layers is found by bisection; what rounding down left over is then spent one rank
    step at a time.

    Raises:
        Refused: even the smallest ranks keep more than that; the sentence names the ratio that can be reached.
    """
    prices = _prices(ladders)
    require_reach(layers, budget, sum(p[0] for p in prices.values()))
    allowed = allowance(layers, budget)
    dense = {la.name: budget.dense(la) for la in layers}

    def at(share: float) -> dict[str, int]:
        return {name: _rung(p, share * dense[name]) for name, p in prices.items()}

    rungs = at(bisected(lambda share: _spent(at(share), prices) <= allowed))
    _spend_the_rest(rungs, prices, allowed - _spent(rungs, prices))
    return {name: ladders[name][rung][0] for name, rung in rungs.items()}


def solve_later(layers: Sequence[Layer], ladders: Mapping[str, Ladder], budget: Budget) -> dict[str, Ranks | str]:
    """Later layers give up more: layer n of N, in model order, keeps the share 1 - removal d^depth, d = (n + 1) / N.

    The removal is bisected; a share below the ladder takes its lowest rung, and one that is nearer to the dense layer
    than to the highest rung leaves the layer dense. What is left over is spent as in `solve_ratio`.

    Returns:
        By layer its ranks, or why it stays dense.

    Raises:
        Refused: as `solve_ratio`.
    """
    prices = _prices(ladders)
    require_reach(layers, budget, sum(p[0] for p in prices.values()))
    allowed = allowance(layers, budget)
    dense = {la.name: budget.dense(la) for la in layers}
    weights = {la.name: (n / len(layers)) ** budget.rule.depth for n, la in enumerate(layers, start=1)}

    def at(removal: float) -> dict[str, int]:
        """Rungs of the layers that are decomposed."""
        wanted = {name: (1 - removal * weights[name]) * dense[name] for name in prices}
        return {n: _rung(p, wanted[n]) for n, p in prices.items() if wanted[n] < (p[-1] + dense[n]) / 2}

    def fits(removal: float) -> bool:
        rungs = at(removal)
        return _spent(rungs, prices) + sum(dense[name] for name in prices if name not in rungs) <= allowed

    most = 1.0
    while not fits(most):  # above 1, late layers are at their lowest rung and earlier ones go on
        most *= 2
    rungs = at(most * (1 - bisected(lambda share: fits(most * (1 - share)))))
    kept_dense = sum(dense[name] for name in prices if name not in rungs)
    _spend_the_rest(rungs, prices, allowed - kept_dense - _spent(rungs, prices))
    reason = "it comes early: its share is nearer to the dense layer than to any rank that saves"
    return {name: ladders[name][rungs[name]][0] if name in rungs else reason for name in prices}


def _prices(ladders: Mapping[str, Ladder]) -> Prices:
    return {name: [rung.price for rung in rungs] for name, rungs in ladders.items()}


def _rung(prices: Sequence[int], wanted: float) -> int:
    """The highest rung that costs at most `wanted`, the lowest where none does."""
    return max(bisect_right(prices, wanted) - 1, 0)


def _spent(rungs: Mapping[str, int], prices: Prices) -> int:
    return sum(prices[name][rung] for name, rung in rungs.items())


def _spend_the_rest(rungs: dict[str, int], prices: Prices, left: int) -> None:
    """Climb one rung at a time, dearest steps first, round after round, until no step fits the budget any more."""
    while fitting := sorted((-step, n) for n in rungs if 0 < (step := _step(prices[n], rungs[n])) <= left):
        for step, name in fitting:
            if -step <= left:
                left += step
                rungs[name] += 1


def _step(prices: Sequence[int], rung: int) -> int:
    """What the next rung costs more than this one; 0 at the top."""
    return prices[rung + 1] - prices[rung] if rung + 1 < len(prices) else 0
