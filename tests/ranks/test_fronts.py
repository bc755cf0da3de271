"""The front of choices: what no other one beats, found among all of them or among what was left of each part."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdq_core.ranks.fronts import undominated

choices = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=40)


def beaten(one: int, found: list[tuple[int, int]]) -> bool:
    price, error = found[one]
    return any(
        (p <= price and e < error) or (p < price and e <= error) or ((p, e) == (price, error) and other < one)
        for other, (p, e) in enumerate(found)
    )


@given(choices, choices)
def test_what_is_left_alone_is_what_nothing_beats_and_parts_may_be_thinned_first(
    some: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    def left(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
        prices, errors = np.array(found).T
        at = undominated(prices, errors.astype(float)).tolist()
        assert sorted(at) == [i for i in range(len(found)) if not beaten(i, found)]
        return [found[i] for i in at]

    assert left(left(some) + left(more)) == left(some + more)
