"""One colour for a variant and one symbol for a precision, the same on every view: functions of what is drawn.

Colours are those of `tdq_core.specs.variant`, symbols and dashes those of `tdq_core.specs.precision`. A hollow symbol
is an integer run of factors that were not conditioned, and nothing else on any page; a dot in it says that factors were
fitted to outputs, so that no two methods differ by a hue alone that some eyes do not tell apart; a heavy edge stands
for coarser scales than the usual ones.
"""

from typing import NamedTuple

from tdq_core.specs import PRECISIONS, Precision, RunSpec
from tdq_core.specs.run import defaults
from tdq_core.specs.variant import DENSE_COLOUR, Variant, variant_of, variants

ACCENT = "#ea580c"
TEXT = {"light": "#1c1917", "dark": "#f5f5f4"}
"""Of charts, by the page that they stand on: those of `.streamlit/config.toml`."""
GREY = DENSE_COLOUR
WARNING = "#d55e00"


class Mark(NamedTuple):
    """A change of a symbol: plotly's suffix, how it looks, and what it stands for."""

    suffix: str
    looks: str
    text: str


class Look(NamedTuple):
    """How a run is drawn, and what that says of it.

    Attributes:
        bare: its factors are quantized as they are, not conditioned.
        coarse: the scales of its integer weights, where they are not the usual ones; '' where they are.
    """

    variant: Variant = Variant()
    precision: str = "fp32"
    bare: bool = False
    coarse: str = ""

    @property
    def numbers(self) -> Precision:
        return PRECISIONS[self.precision]

    @property
    def colour(self) -> str:
        return self.variant.colour

    @property
    def marks(self) -> tuple[Mark, ...]:
        """In the order of plotly's suffixes."""
        hollow = (Mark("-open", "hollow", "not conditioned"),) if self.bare else ()
        dotted = (Mark("-dot", "dotted", "calibrated"),) if self.variant.fitted else ()
        edged = (Mark("", "heavy edge", f"scale per {self.coarse}"),) if self.coarse else ()
        return (*hollow, *dotted, *edged)

    @property
    def edge(self) -> int:
        """Width of the marker's line in pixels, 0 for none."""
        return 2 * self.bare + 2 * bool(self.coarse) or int(self.variant.fitted)

    @property
    def symbol(self) -> str:
        """Plotly's marker."""
        return self.numbers.symbol + "".join(mark.suffix for mark in self.marks)

    @property
    def place(self) -> tuple[int, int, str, str]:
        """Where it stands among others: by variant, precision and marks."""
        return variants().index(self.variant), list(PRECISIONS).index(self.precision), self.symbol, self.coarse


def look_of(spec: RunSpec) -> Look:
    """How a run of this spec is drawn."""
    numbers = spec.precision
    bare = spec.quantized and spec.decomposition is not None and not spec.treatment.condition
    coarse = numbers.granularity if numbers.granularity != defaults()["granularity"] else ""
    return Look(variant_of(spec), numbers.name, bare, coarse)


class State(NamedTuple):
    """How a CP stands before its integers, as the page Components shows it: in colour, and in shape."""

    label: str
    colour: str
    symbol: str


STATES = {
    "als": State("ALS", Variant("cp").colour, "circle"),
    "epc": State("EPC", Variant("cp", epc=True).colour, "square"),
    "equalised": State("EPC, equalised", "#009e73", "x"),
}
"""By variant of `tdq_core.analysis.components`: as plain CP, as CP with EPC, and that with its ranges in balance."""
