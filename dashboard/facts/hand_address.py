"""Ranks by hand as a word of the address: those of each layer in the order of the network. Plain values."""

from collections.abc import Sequence

from dashboard.facts.planning import Hand, can_be_decomposed
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.ranks.costs import max_ranks, method_for

BETWEEN, TIMES, LEFT = ".", "x", "-"
"""'12x8.-.5': ranks of a layer with two, a layer that is left alone, ranks of a layer with one."""


def hand_text(hand: Hand, layers: Sequence[Layer]) -> str:
    """The ranks of these layers; '' where all are left alone."""
    if not any(layer.name in hand for layer in layers):
        return ""
    words = [TIMES.join(map(str, hand[la.name])) if la.name in hand else LEFT for la in layers]
    return BETWEEN.join(words)


def hand_of(text: str, layers: Sequence[Layer], method: str) -> Hand | None:
    """The inverse of `hand_text`; None where these layers cannot have such ranks by `method`."""
    words = text.split(BETWEEN)
    if len(words) != len(layers):
        return None
    found: dict[str, Ranks] = {}
    for layer, word in zip(layers, words, strict=True):
        if word == LEFT:
            continue
        ranks = tuple(int(rank) for rank in word.split(TIMES) if rank.isascii() and rank.isdigit() and len(rank) < 7)
        if len(ranks) != word.count(TIMES) + 1 or not can_be_decomposed(layer, method):
            return None
        tops = max_ranks(layer, method_for(layer, method))
        if len(ranks) != len(tops) or not all(1 <= rank <= top for rank, top in zip(ranks, tops, strict=True)):
            return None
        found[layer.name] = ranks
    return found
