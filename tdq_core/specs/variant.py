"""How a run's factors were found, as one value: what its colour and its label stand for. No torch here."""

from typing import NamedTuple

from tdq_core.layers.methods import CORRECTED_LOOK, CORRECTION, METHODS
from tdq_core.specs.run import RunSpec

DENSE_COLOUR = "#8a8a8a"


class Variant(NamedTuple):
    """A method with or without EPC, fitted to weights or to outputs; not what is done to the model afterwards."""

    method: str = "none"
    epc: bool = False
    fitted: bool = False

    @property
    def label(self) -> str:
        """'CP + EPC, calibrated'."""
        name = METHODS[self.method].label if self.method in METHODS else "dense"
        return name + " + EPC" * self.epc + ", calibrated" * self.fitted

    @property
    def text(self) -> str:
        """'cp + epc + calibrated', as tables and the command line write it."""
        return self.method + " + epc" * self.epc + " + calibrated" * self.fitted

    @property
    def colour(self) -> str:
        if self.method not in METHODS:
            return DENSE_COLOUR
        look = CORRECTED_LOOK if self.epc else METHODS[self.method].look
        return look.fitted if self.fitted else look.plain


def variant_of(spec: RunSpec) -> Variant:
    """The variant of a run."""
    made = spec.decomposition
    return Variant(made.method, made.epc, made.calibrated) if made else Variant()


def variants() -> list[Variant]:
    """All of them, in the order in which they are listed: dense, fitted to weights, fitted to outputs."""
    found = [Variant()]
    for fitted in (False, True):
        for name in METHODS:
            found += [Variant(name, epc, fitted) for epc in (False, True) if not epc or name in CORRECTION]
    return found
