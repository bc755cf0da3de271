"""Ranks and bits by hand as words of the address: those of each layer in the order of the network. Plain values."""

from collections.abc import Sequence

from dashboard.facts.planning import Hand, HandBits, can_be_decomposed
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.ranks.costs import max_ranks, method_for
from tdq_core.specs.bits import FEWEST_BY_HAND, MOST_BY_HAND

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


def bits_text(bits: HandBits, layers: Sequence[Layer]) -> str:
    """'48-3': a digit a layer, or a dash where it has those of the precision; '' where no layer has its own."""
    text = "".join(str(bits.get(layer.name, LEFT)) for layer in layers)
    return "" if set(text) <= {LEFT} else text


def bits_of(text: str, layers: Sequence[Layer]) -> HandBits | None:
    """The inverse of `bits_text`; None where these layers cannot have such bits."""
    allowed = {str(bits) for bits in range(FEWEST_BY_HAND, MOST_BY_HAND + 1)}
    if len(text) != len(layers) or not set(text) <= allowed | {LEFT}:
        return None
    return {layer.name: int(sign) for layer, sign in zip(layers, text, strict=True) if sign != LEFT}
