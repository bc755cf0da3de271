"""How far a layer at some ranks is from the dense one, as its spectra say: measured changes are joined along it."""

from tdq_core.layers.methods import Ranks, method
from tdq_core.layers.table import Layer
from tdq_core.ranks.allocate import tails
from tdq_core.ranks.costs import cost, max_ranks


def expected_error(layer: Layer, name: str, ranks: Ranks) -> float:
    """Of `layer` by the method `name` at `ranks`: the relative squared error that its spectra predict; of a method that
    none predicts, how many times fewer params it has. Either falls as ranks rise."""
    modes = method(name).predicts
    if not modes:
        return layer.params / cost(layer, name, ranks).params
    spectra, tops = (layer.spectrum_out, layer.spectrum_in), max_ranks(layer, name)
    return sum(float(tails(spectra[mode], top)[rank]) for mode, top, rank in zip(modes, tops, ranks, strict=True))
