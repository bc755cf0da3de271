"""What a ratio counts: params, MACs, bytes of the packed file, or time; of layers, of choices, of the whole."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tdq_core.errors import InputError
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import BITS, Layer, LayerTable
from tdq_core.layers.times import FormTime
from tdq_core.ranks.costs import amounts, cost, max_ranks
from tdq_core.ranks.packed import Packed
from tdq_core.specs.choices import BUDGETS
from tdq_core.specs.precision_spec import AUTO, PrecisionSpec
from tdq_core.specs.rank_rule import RankRule

FP32 = PrecisionSpec()


def form_time(layer: Layer, method: str) -> FormTime | None:
    """The times of `layer` in this form ('none': dense); None where it was not timed."""
    return next((each for each in layer.times if each.method == method), None)


@dataclass(frozen=True)
class Budget:
    """A rank rule on one network: what choices cost in what the rule counts.

    Attributes:
        precision: of the file whose bytes are counted; the other budgets do not ask for it.
    """

    table: LayerTable
    rule: RankRule
    precision: PrecisionSpec = FP32

    @property
    def counts(self) -> str:
        return self.rule.budget

    @property
    def unit(self) -> str:
        """For people."""
        return BUDGETS[self.counts].label

    @cached_property
    def packed(self) -> Packed:
        """InputError: the table does not say what the network's files hold beside its layers."""
        return Packed(self.table, self.precision)

    @property
    def chooses_bits(self) -> bool:
        """Whether a layer's bits are chosen with its ranks."""
        return self.precision.bits == AUTO

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits that a layer's weights may have where they are chosen, most first; else those of the precision."""
        most = self.precision.numbers.weight_bits
        return tuple(b for b in BITS if b <= most) if self.chooses_bits else (most,)

    def bits_for(self, layer: Layer) -> tuple[int, ...]:
        """The same of one layer."""
        return (self._usual(layer),) if self.counts == "bytes" and not self.chooses_bits else self.bits

    def _usual(self, layer: Layer) -> int:
        return self.packed.bits_of(layer)

    @property
    def of_layers_alone(self) -> bool:
        """Whether what a layer costs follows from the layer, and not from the file that it stands in."""
        return self.counts != "bytes"

    @property
    def original(self) -> int:
        """What the ratio is taken of: params, MACs or nanoseconds of the network, bytes of its fp32 file."""
        if self.counts == "bytes":
            return self.packed.files.fp32
        if self.counts == "latency":
            if self.table.dense_ns is None:
                raise InputError(f"The layer table of '{self.table.model}' has no times: time its layers first.")
            return self.table.dense_ns
        count: int = getattr(self.table, self.counts)
        return count

    @property
    def allowed(self) -> int:
        """What the whole network may cost."""
        assert self.rule.value is not None, "checked by RankRule"
        return int(self.original / self.rule.value)

    @cached_property
    def _digits(self) -> int:
        """Of places in the file: no larger than those of the file of the dense network."""
        parts = [p for la in self.table.layers for p in self.packed.parts(la, "none", (), self._usual(la))]
        return len(str(self.packed.size(parts)))

    @cached_property
    def whole(self) -> int:
        """What the network costs where every layer stays dense."""
        if self.counts != "bytes":
            return self.original
        return self.packed.frame(self._digits) + sum(self.dense(layer) for layer in self.table.layers)

    def dense(self, layer: Layer, bits: int | None = None) -> int:
        """Of a layer that stays as it is; of `bits`, where they are counted and chosen, else as `Packed.bits_of`."""
        if self.counts == "bytes":
            return self.packed.most(self.packed.parts(layer, "none", (), bits or self._usual(layer)), self._digits)
        if self.counts == "latency":
            own = form_time(layer, "none")
            return own.at(()) if own else 0  # what was not timed keeps its time, which is the whole's
        count: int = getattr(layer, self.counts)
        return count

    def price(self, layer: Layer, method: str, ranks: Any, bits: int | None = None) -> Any:
        """Of a factorised layer; `ranks` may be arrays that broadcast. Of bytes: at most so many."""
        if self.counts == "bytes":
            top, many = max_ranks(layer, method), bits or self._usual(layer)
            header = self.packed.most(self.packed.parts(layer, method, top, many), self._digits)
            return header - self.packed.data(layer, method, top, many) + self.packed.data(layer, method, ranks, many)
        if self.counts == "latency":
            timed = form_time(layer, method)
            assert timed is not None, "forms that were not timed are not offered"
            return timed.at(ranks)
        params, macs = amounts(layer, method, ranks)
        return params if self.counts == "params" else macs

    def saves(self, layer: Layer, method: str, ranks: Ranks) -> bool:
        """Whether a factorised layer has fewer params than dense, and less of what is counted."""
        fewer = cost(layer, method, ranks).params < layer.params
        return fewer and bool(self.price(layer, method, ranks) < self.dense(layer))
