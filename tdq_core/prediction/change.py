"""The change that a plan makes to the answers: what its layers do, added up; or why it is not known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer
from tdq_core.prediction.sensitivity import DENSE, LayerChanges, Point, Sensitivities
from tdq_core.ranks.bits import END_BITS
from tdq_core.ranks.expected import BEYOND, changes_at, expected_error
from tdq_core.ranks.plan import LayerPlan
from tdq_core.specs import RunSpec


class Unknown(Exception):
    """Nothing is known of what is asked for; the sentence says of what."""


@dataclass(frozen=True)
class Asked:
    """What is done to layers, as far as their changes depend on it.

    Attributes:
        fit: 'outputs' or 'weights'.
        epc: whether CP has the correction.
        weight_bits, activation_bits: None where they stay floats; of weights where a layer has none of its own.
        ends: layers that keep 8 bits.
    """

    fit: str
    epc: bool
    weight_bits: int | None
    activation_bits: int | None
    ends: frozenset[str] = frozenset()

    @property
    def in_floats(self) -> "Asked":
        """The same without any rounding."""
        return replace(self, weight_bits=None, activation_bits=None)

    @classmethod
    def of(cls, spec: RunSpec, layers: Sequence[Layer]) -> "Asked":
        """Of a run.

        Raises:
            Unknown: it does something that was never measured.
        """
        require_measured(spec)
        made, numbers = spec.decomposition, spec.precision.numbers
        below = numbers.integer and numbers.weight_bits < END_BITS
        ends = frozenset(layer.name for layer in layers if layer.end) if below else frozenset()
        fit = "outputs" if spec.calibrated else "weights"
        return cls(fit, bool(made and made.epc), numbers.weight_bits if numbers.integer else None,
                   numbers.activation_bits, ends)  # fmt: skip


def require_measured(spec: RunSpec) -> None:
    """Unknown where `spec` does to the network what sensitivities say nothing of."""
    made, precision, treatment = spec.decomposition, spec.precision, spec.treatment
    never = {
        "fine-tuning": treatment.finetune,
        "re-estimated batch norms": treatment.reestimate_bn,
        "quantization-aware rounding": precision.quantization_aware,
        "bits of their own inside decomposed layers": precision.inner_bits is not None,
        "one scale a tensor of weights": spec.quantized and precision.granularity != "channel",
        "ranges of least squared error": spec.quantized and precision.ranges != "minmax",
        "another solver": made is not None and made.solver != "tdq",
        "factors that are not conditioned": spec.quantized and made is not None and not treatment.condition,
    }  # fmt: skip
    if named := [what for what, asked in never.items() if asked]:
        raise Unknown(f"the sensitivities were measured without {' and '.join(named)}")


class Part(NamedTuple):
    """What becomes of the layer of this name: 'none' for a method where it stays dense; `bits` of its weights where it
    has its own."""

    layer: str
    method: str
    ranks: Ranks
    bits: int | None = None


def parts_of(layers: Iterable[LayerPlan]) -> list[Part]:
    """What a plan makes of each layer."""
    return [Part(p.layer.name, p.method, p.ranks, p.bits) for p in layers]


class Changes:
    """The sums over the layers of many plans of one network: what one layer adds is found once."""

    def __init__(self, found: Sensitivities) -> None:
        self._found = found
        self._known: dict[Asked, dict[Part, float]] = {}

    def of(self, parts: Iterable[Part], asked: Asked) -> float:
        """The sum over the layers.

        Raises:
            Unknown: a method, ranks or bits that were not measured.
        """
        known = self._known.setdefault(asked, {})
        total = 0.0
        for part in parts:
            if part not in known:
                known[part] = layer_change(self._found, part, asked)
            total += known[part]
        return total


def layer_change(found: Sensitivities, part: Part, asked: Asked) -> float:
    """What one layer adds; see `Changes.of`."""
    name, own = part.layer, found.layers.get(part.layer)
    if own is None:
        if part.method == "none":
            return 0.0  # a layer that no step takes up stays in floats as well
        raise Unknown(f"the layer '{name}' was not measured")
    form = (
        DENSE if part.method == "none" else f"{part.method}+epc" if part.method == "cp" and asked.epc else part.method
    )
    total = 0.0
    if form != DENSE:
        points = own.fits.get("cp+epc" if form == "cp" else form, {}).get(asked.fit, ())
        if not points:
            raise Unknown(f"the layer '{name}' was not measured by this method")
        table = found.tables[asked.fit]
        total += _at(points, expected_error(table.layer(name), part.method, part.ranks), name)
    return total + rounding_change(own, form, asked, name, part.bits)


def rounding_change(own: LayerChanges, form: str, asked: Asked, name: str, own_bits: int | None = None) -> float:
    """What rounding the layer `name` adds in this form, where it has bits of its own its weights to `own_bits`; Unknown
    where it was not measured with these bits."""
    total = 0.0
    for kind, usual, given in (("w", asked.weight_bits, own_bits), ("a", asked.activation_bits, None)):
        if usual is not None:
            bits = given or (max(usual, END_BITS) if name in asked.ends else usual)
            total += _rounded(own, form, kind, bits, name)
    return total


def _at(points: Sequence[Point], error: float, name: str) -> float:
    errors, changes = zip(*((p.error, p.change) for p in reversed(points)), strict=True)
    if error > errors[-1] * BEYOND:
        raise Unknown(f"the ranks of '{name}' are smaller than any that were measured")
    return float(changes_at(np.array([error]), errors, changes)[0])


def _rounded(own: LayerChanges, form: str, kind: str, bits: int, name: str) -> float:
    if (change := own.rounded(form, f"{kind}{bits}")) is not None:
        return change
    raise Unknown(f"the layer '{name}' was not measured with {bits}-bit {'weights' if kind == 'w' else 'activations'}")
