"""Ranks of a layer's two modes by its spectra, and what a method makes of them. No torch here.

A mode is a side of the weight: 'out' is its unfolding to C_out x (C_in K_h K_w), 'in' to C_in x (C_out K_h K_w).
"""

from collections.abc import Sequence

import numpy as np

from tdq_core.layers import methods
from tdq_core.layers.methods import Modes, Ranks
from tdq_core.layers.table import Layer
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import cost, max_ranks
from tdq_core.ranks.evbmf import evbmf_rank


def energy_rank(spectrum: Sequence[float] | np.ndarray, energy: float) -> int:
    """The smallest rank that keeps at least the share `energy` of the sum of `spectrum` (largest first)."""
    kept = np.cumsum(spectrum)
    if kept[-1] <= 0:
        return 0
    return min(int(np.searchsorted(kept, energy * kept[-1] * (1 - 1e-12))) + 1, len(kept))


def evbmf_modes(layer: Layer) -> Modes:
    """The EVBMF rank of each mode; of a grouped convolution that of its average group, whose spectrum is the mean of
    the groups': they take one rank, and few weights each say little about where noise begins."""
    one = layer.one_group
    out = evbmf_rank(one.spectrum_out, one.c_out, one.c_in * one.taps)
    return out, evbmf_rank(one.spectrum_in, one.c_in, one.c_out * one.taps)


def weakened(layer: Layer, found: Modes, factor: float) -> Modes:
    """full - factor * (full - found) for each mode; one component or none is no signal and stays as it is."""
    tops = len(layer.spectrum_out), len(layer.spectrum_in)
    out, in_ = (rank if rank < 2 else int(top - factor * (top - rank)) for top, rank in zip(tops, found, strict=True))
    return out, in_


def ranks_or_reason(layer: Layer, method: str, modes: Modes, budget: Budget, *, least: int = 1) -> Ranks | str:
    """Ranks of `method` from those of the modes, rounded up to multiples; or why the layer stays dense."""
    multiple = budget.rule.multiple
    ranks = methods.method(method).of_modes(modes)
    if min(ranks) < least:
        return f"no signal found: rank {modes[0]} of the output mode, {modes[1]} of the input mode"
    tops = max_ranks(layer, method)
    ranks = tuple(min(-(-r // multiple), top // multiple) * multiple for r, top in zip(ranks, tops, strict=True))
    price = cost(layer, method, ranks)
    if budget.saves(layer, method, ranks):
        return ranks
    shown = f"{ranks[0] if len(ranks) == 1 else ranks}{' a group' * (layer.groups > 1)}"
    if price.params >= layer.params:
        return f"rank {shown} would save nothing: {price.params} params against {layer.params}"
    counted = budget.price(layer, method, ranks)
    return f"rank {shown} would save nothing: {counted} {budget.unit} against {budget.dense(layer)}"
