"""Where decomposition and rounding meet: what rounding a layer does to the answers, as it is and as factors. No torch.

If the two added up, rounding a layer's factors would move the answers as far as rounding the dense layer does. Changes
are mean squared ones of the logits, measured with everything else in floats: they have far less noise than a share of
right answers, and layer by layer they say where the sum breaks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdq_core.layers.methods import METHODS
from tdq_core.prediction.change import Asked, Unknown, rounding_change
from tdq_core.prediction.sensitivity import DENSE, Sensitivities
from tdq_core.specs.precision import Precision


@dataclass(frozen=True)
class Meeting:
    """A layer, rounded alone: the mean squared change of the logits over their mean square.

    Attributes:
        dense: by rounding the layer as it is.
        factors: by form of the factors ('tucker2', 'cp+epc', ...), fitted to outputs at about half of its params, what
            rounding them adds to their own change; only those that were measured.
    """

    layer: str
    dense: float
    factors: Mapping[str, float]


@dataclass(frozen=True)
class Total:
    """A form's layers together.

    Attributes:
        layers: that were measured in this form; dense, factors: as above, added up over these.
        worst: the layers whose factors add most beyond the dense ones, and how much.
    """

    form: str
    layers: int
    dense: float
    factors: float
    worst: tuple[tuple[str, float], ...]

    @property
    def times(self) -> float:
        """How many times as far as the dense layers: 1 where the drops add up."""
        return self.factors / self.dense if self.dense else 0.0


def form_label(form: str) -> str:
    """'CP + EPC', for people."""
    name, _, corrected = form.partition("+")
    return METHODS[name].label + " + EPC" * bool(corrected)


def meetings(found: Sensitivities, precision: Precision) -> tuple[Meeting, ...]:
    """In the order of the network; none where nothing is rounded. Both ends keep 8 bits, as in runs."""
    if not precision.integer:
        return ()
    table = found.tables["outputs"]
    ends = frozenset(la.name for la in table.layers if la.end) if precision.weight_bits < 8 else frozenset()
    asked = Asked("outputs", False, precision.weight_bits, precision.activation_bits, ends)
    rows = []
    for layer in table.layers:
        changes = _changes(found, layer.name, asked)
        if DENSE in changes:
            rows.append(Meeting(layer.name, changes.pop(DENSE), changes))
    return tuple(rows)


def totals(rows: Sequence[Meeting], *, worst: int = 3) -> tuple[Total, ...]:
    """By form, the one that adds least first."""
    found = []
    for form in dict.fromkeys(form for row in rows for form in row.factors):
        own = [row for row in rows if form in row.factors]
        beyond = sorted(((row.layer, row.factors[form] - row.dense) for row in own), key=lambda pair: -pair[1])
        dense, factors = sum(row.dense for row in own), sum(row.factors[form] for row in own)
        found.append(Total(form, len(own), dense, factors, tuple(pair for pair in beyond[:worst] if pair[1] > 0)))
    return tuple(sorted(found, key=lambda total: total.times))


def _changes(found: Sensitivities, name: str, asked: Asked) -> dict[str, float]:
    changes: dict[str, float] = {}
    own = found.layers.get(name)
    for form in own.rounding if own else ():
        assert own is not None, "it has forms"
        try:
            changes[form] = rounding_change(own, form, asked, name)
        except Unknown:
            continue
    return changes
