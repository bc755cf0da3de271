"""Laws of the class-balanced draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdq_core.data.subsets import balanced_indices
from tdq_core.errors import InputError

COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=8).filter(any)


def shuffled_labels(counts: list[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@given(COUNTS, st.data())
def test_counts_differ_by_at_most_one_except_where_a_class_is_used_up(counts: list[int], data: st.DataObject) -> None:
    labels = shuffled_labels(counts, 0)
    n, seed = data.draw(st.integers(1, len(labels))), data.draw(st.integers(0, 50))
    chosen, notes = balanced_indices(labels, n, seed=seed)
    assert len(chosen) == n and np.all(np.diff(chosen) > 0)
    drawn = np.bincount(labels[chosen], minlength=len(counts))
    available = np.array(counts)
    below = drawn < drawn.max() - 1
    assert np.array_equal(drawn[below], available[below]), "a class falls behind only when it has no more images"
    assert bool(notes) == bool(np.any(below & (available > 0)))


@given(st.integers(1, 30), st.integers(0, 50))
def test_the_same_seed_draws_the_same_images(n: int, seed: int) -> None:
    labels = shuffled_labels([7, 9, 14], 1)
    assert np.array_equal(*(balanced_indices(labels, n, seed=seed)[0] for _ in range(2)))


def test_the_seed_chooses_the_images_and_the_classes_that_get_one_more() -> None:
    labels = np.repeat(np.arange(10), 20)
    draws = [balanced_indices(labels, 13, seed=seed)[0] for seed in range(20)]
    assert len({tuple(d) for d in draws}) == 20
    assert len({tuple(np.flatnonzero(np.bincount(labels[d]) == 2)) for d in draws}) > 10


def test_the_draw_is_the_same_on_every_machine() -> None:
    assert balanced_indices(np.repeat(np.arange(3), 10), 5, seed=0)[0].tolist() == [2, 13, 15, 22, 23]


def test_more_than_there_are_is_an_error_with_both_numbers() -> None:
    with pytest.raises(InputError, match=r"There are 4 images to draw from\. Got 'samples' 5"):
        balanced_indices(np.zeros(4, dtype=np.int64), 5, seed=0)
