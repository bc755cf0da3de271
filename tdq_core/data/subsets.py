"""Seeded class-balanced subsets: which images, and what could not be balanced. numpy only."""

import numpy as np

from tdq_core.errors import InputError


def balanced_indices(labels: np.ndarray, n: int, *, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Draw `n` images so that the classes present have equal counts, to within one.

    Which classes get one more is drawn too. A class with too few images gives all it has; the rest is spread over the
    others, and a note says so. The same labels, `n` and seed give the same images on every machine and numpy version.

    Args:
        labels: (images,) ints.
        n: in [1, images].

    Returns:
        Ascending indices, shape (n,), and the notes.

    Raises:
        InputError: fewer than `n` images.
    """
    if n > len(labels):
        raise InputError(f"There are {len(labels)} images to draw from. Got 'samples' {n}.")
    draw = np.random.RandomState(seed)  # its stream is frozen across numpy versions, unlike default_rng's
    classes, counts = np.unique(labels, return_counts=True)
    quota = _quota(counts, n, draw)
    chosen = [draw.permutation(np.flatnonzero(labels == c))[:q] for c, q in zip(classes, quota, strict=True)]
    short = int(np.sum((quota == counts) & (counts < quota.max() - 1)))
    note = (
        f"{short} of {len(classes)} classes have too few images for equal shares of {n}: all of theirs are used, "
        "and the rest was drawn from the other classes."
    )
    return np.sort(np.concatenate(chosen)), (note,) if short else ()


def _quota(counts: np.ndarray, n: int, draw: np.random.RandomState) -> np.ndarray:
    """Images a class: equal shares, capped by what there is, the rest shared again."""
    quota = np.zeros_like(counts)
    while (left := n - int(quota.sum())) > 0:
        open_classes = np.flatnonzero(quota < counts)
        share = left // len(open_classes)
        if share == 0:
            quota[draw.permutation(open_classes)[:left]] += 1
        else:
            quota[open_classes] = np.minimum(counts[open_classes], quota[open_classes] + share)
    return quota
