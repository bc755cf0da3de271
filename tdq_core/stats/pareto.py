"""The Pareto front: the points that no other point beats on both axes. No torch here."""

import math
from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, value) that are not dominated: no other is at most as costly and at least as good,
    and better in one of the two. Ties are all kept. Ordered by cost, then by index.

    Raises:
        ValueError: a point is NaN: it cannot be compared.
    """
    if any(math.isnan(x) for point in points for x in point):
        raise ValueError("A Pareto front needs comparable points. Got NaN.")
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    front: list[int] = []
    best, best_cost = -math.inf, math.nan
    for i in order:
        cost, value = points[i]
        if value > best or (value == best and cost == best_cost):
            front.append(i)
            best, best_cost = value, cost
    return front
