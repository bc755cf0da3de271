"""How far a layer at some ranks is from the dense one, as its spectra say: measured changes are joined along it.

Of a method that no spectrum predicts, it is how many times fewer params the layer has. Either falls as ranks rise. No
torch here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tdq_core.layers.methods import method
from tdq_core.layers.table import Layer
from tdq_core.ranks.allocate import tails
from tdq_core.ranks.costs import amounts, max_ranks

BEYOND = 1.35
"""Ranks whose expected error is larger than that of the smallest ones measured by this factor are out of the grid."""
_TINY = 1e-12


def expected_error(layer: Layer, name: str, ranks: Any) -> Any:
    """Of `layer` by the method `name` at `ranks`, whole numbers or arrays that broadcast: the relative squared error
    that its spectra predict, or the share described above."""
    modes = method(name).predicts
    if not modes:
        return layer.params / amounts(layer, name, ranks)[0]
    spectra, tops = (layer.spectrum_out, layer.spectrum_in), max_ranks(layer, name)
    lost = [tails(spectra[mode], top)[np.asarray(rank)] for mode, top, rank in zip(modes, tops, ranks, strict=True)]
    return sum(lost[1:], start=lost[0])


def changes_at(expected: np.ndarray, errors: Sequence[float], changes: Sequence[float]) -> np.ndarray:
    """The changes at these expected errors: along straight lines between the measured ones (`errors` ascending) in
    logarithms, below the smallest in proportion to it, and inf where they are out of the grid."""
    xs, ys = np.array(errors).clip(_TINY), np.array(changes).clip(_TINY)
    at = expected.clip(_TINY)
    within = np.exp(np.interp(np.log(at), np.log(xs), np.log(ys)))
    found = np.where(at < xs[0], ys[0] * expected / xs[0], within)
    return np.where(expected > errors[-1] * BEYOND, np.inf, found)
