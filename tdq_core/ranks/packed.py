"""Bytes of the packed file of simulated bits, by arithmetic alone: what `compression.quantize.simulated_file` writes.

A safetensors file is 8 bytes, a header of JSON filled up to a multiple of 8, and the tensors without gaps. The numbers
of all layers stand in a few tensors; each layer has its name, its bits and its shape in the header. No torch here.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tdq_core.errors import InputError
from tdq_core.layers.methods import WHOLE, Ranks, Stage, method
from tdq_core.layers.table import Files, Layer, LayerTable, Stored
from tdq_core.ranks.bits import END_BITS, named_bits
from tdq_core.specs.precision_spec import PrecisionSpec

FORMAT = 2
ABOUT = "tdq"
"""The key of the file's metadata."""
SCALE_BYTES, UNIT_BYTES, BIAS_BYTES, GRID_BYTES = 2, 1, 4, 5
"""Of a scale, of the power of two that a layer's scales share, of a bias, of the grid of one call's input."""
ALIGNED = 8
INTEGERS, SCALES, UNITS, BIASES = "tdq.integers", "tdq.scales", "tdq.units", "tdq.biases"
STEPS, ZERO_POINTS = "tdq.steps", "tdq.zero_points"
JOINED = ((INTEGERS, "U8"), (SCALES, "F16"), (UNITS, "I8"), (BIASES, "F32"), (STEPS, "F32"), (ZERO_POINTS, "U8"))
"""The tensors that hold the numbers of all layers, and their types."""
_ORDER = ("I64", "F64", "C64", "I32", "F32", "F16", "BF16", "I16", "I8", "U8", "BOOL")
"""Types as they follow each other in a file; those of one type by name."""


@dataclass(frozen=True)
class Part:
    """A layer of the built network, as its file has it.

    Attributes:
        shape: of its weight.
        bits: of an integer.
        bias: numbers of its bias.
        calls: in one pass: its input has a grid for each of them.
        counts: whether an image reaches it.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    bias: int
    calls: int
    counts: bool = True


class Packed:
    """The packed file of a network at a precision: what it holds, and how large it is."""

    def __init__(self, table: LayerTable, precision: PrecisionSpec) -> None:
        """InputError: the table does not say what the network's files hold beside its layers."""
        if table.files is None:
            raise InputError(
                f"The layer table of '{table.model}' does not say what its files hold beside the layers, which the "
                "budget 'bytes' needs: read the layers anew."
            )
        self.files: Files = table.files
        self._precision = precision
        bits, self._named = precision.numbers.weight_bits, named_bits(table, precision)
        self._idle = [Part(name, tuple(shape), bits, bias, 0, counts=False)
                      for name, (shape, bias) in self.files.unreached.items()]  # fmt: skip
        ends = {layer.end: layer.name for layer in table.layers if layer.end}
        self._first = ends.get("first", "")
        self._last = ends.get("classifier", self._first)  # the only layer is both

    def bits_of(self, layer: Layer) -> int:
        """Those of its weights where nobody chooses them with ranks."""
        return self._named.get(layer.name, self._precision.numbers.weight_bits)

    def parts(self, layer: Layer, name: str, ranks: Ranks, bits: int) -> list[Part]:
        """What becomes of `layer` by the method `name` at `ranks`, its weights of `bits`; itself by 'none'. At an end
        of the network the outermost weight keeps `END_BITS`, unless it is the whole layer, and named."""
        if layer.name not in self.files.packed:
            return []  # it is among the others: no plain layer
        own = [Stage("", layer.c_out, layer.one_group.c_in, WHOLE)]
        stages = own if name == "none" else method(name).all_stages(layer, ranks)
        bias = layer.c_out * self.files.packed[layer.name]
        last = len(stages) - 1
        named = name == "none" and layer.name in self._named
        ends = [at for at, end in ((0, self._first), (last, self._last)) if layer.name == end and not named]
        return [
            Part(
                f"{layer.name}.{stage.name}".rstrip("."),
                _shape(layer, stage),
                END_BITS if at in ends else bits,
                bias if at == last else 0,
                layer.calls if self._precision.numbers.activation_bits else 0,
            )
            for at, stage in enumerate(stages)
        ]

    def size(self, parts: Sequence[Part]) -> int:
        """Bytes of the file of a network that is made of these parts, and of what is no layer."""
        parts = [*parts, *self._idle]
        idle = sum(self._numbers(part) - UNIT_BYTES for part in parts if not part.counts)
        return file_size([*self.files.others, *self._joined(parts)], {ABOUT: self._about(parts)}) - idle

    def data(self, layer: Layer, name: str, ranks: Any, bits: int) -> Any:
        """Bytes of the tensors of `layer` alone; `ranks` may be arrays that broadcast."""
        stages = method(name).all_stages(layer, ranks)
        kept = dict.fromkeys(range(len(stages)), bits)
        kept |= {0: END_BITS} if layer.name == self._first else {}
        kept |= {len(stages) - 1: END_BITS} if layer.name == self._last else {}
        channels = self._precision.granularity == "channel"
        total: Any = BIAS_BYTES * layer.c_out * self.files.packed[layer.name]
        for at, stage in enumerate(stages):
            scales = SCALE_BYTES * (stage.out if channels else 1)
            total = total + -(-stage.numbers(layer) * kept[at] // 8) + scales + UNIT_BYTES
        if self._precision.numbers.activation_bits:
            total = total + GRID_BYTES * layer.calls * len(stages)
        return total

    def most(self, parts: Iterable[Part], digits: int) -> int:
        """Bytes that these parts add to a file whose size has so many `digits`, at most: their numbers, and what the
        header says of them."""
        total = 0
        for part in parts:
            told = json.dumps({part.name: self._told(part)}, separators=(",", ":"))
            total += len(json.dumps(told)) - 3  # quotes and braces go, a comma comes
            total += self._numbers(part) if part.counts else UNIT_BYTES
        return total

    def frame(self, digits: int) -> int:
        """Bytes of a file of so many `digits` without its layers, at most."""
        names = [Stored(name, kind, (10**digits,), 0) for name, kind in JOINED]
        told = json.dumps({ABOUT: self._about([])})
        entries = sum(len(_entry(t, "9" * digits, "9" * digits)) + 1 for t in (*self.files.others, *names))
        own = sum(t.bytes for t in self.files.others if t.counts) + self.most(self._idle, digits)
        return 8 + len('{"__metadata__":}') + len(told) + entries + ALIGNED + own

    def _numbers(self, part: Part) -> int:
        """Bytes of its numbers."""
        return (self._integers(part) + SCALE_BYTES * self._scales(part) + UNIT_BYTES + BIAS_BYTES * part.bias
                + GRID_BYTES * part.calls)  # fmt: skip

    def _integers(self, part: Part) -> int:
        return -(-math.prod(part.shape) * part.bits // 8)

    def _scales(self, part: Part) -> int:
        return part.shape[0] if self._precision.granularity == "channel" else 1

    def _joined(self, parts: Sequence[Part]) -> list[Stored]:
        """The tensors that hold the numbers of all layers."""
        calls = sum(part.calls for part in parts)
        counts = (sum(map(self._integers, parts)), sum(map(self._scales, parts)), len(parts),
                  sum(part.bias for part in parts), calls, calls)  # fmt: skip
        sizes = {"U8": 1, "I8": 1, "F16": 2, "F32": 4}
        rows = zip(JOINED, counts, strict=True)
        found = [Stored(name, kind, (count,), sizes[kind] * count) for (name, kind), count in rows]
        return found if calls else found[:-2]

    def _about(self, parts: Sequence[Part]) -> str:
        granularity = "channel" if all(self._scales(part) == part.shape[0] for part in parts) else "tensor"
        told = {part.name: self._told(part) for part in parts}
        return json.dumps({"format": FORMAT, "granularity": granularity, "layers": told}, separators=(",", ":"))

    def _told(self, part: Part) -> list[Any]:
        inputs = [self._input_bits, part.calls] if part.calls else []
        return [part.bits, list(part.shape), part.bias, *inputs]

    @property
    def _input_bits(self) -> int:
        return self._precision.numbers.activation_bits or 0


def file_size(tensors: Iterable[Stored], metadata: dict[str, str] | None = None) -> int:
    """Bytes of a safetensors file of these tensors, without those that do not count."""
    tensors, entries, at = list(tensors), [], 0
    for tensor in sorted(tensors, key=lambda t: (_ORDER.index(t.kind), t.name)):
        entries.append(_entry(tensor, at, at + tensor.bytes))
        at += tensor.bytes
    head = [f'"__metadata__":{_json(metadata)}'.encode()] if metadata else []
    header = len(b",".join([*head, *entries])) + 2
    idle = sum(tensor.bytes for tensor in tensors if not tensor.counts)
    return 8 + -(-header // ALIGNED) * ALIGNED + at - idle


def _entry(tensor: Stored, begin: Any, end: Any) -> bytes:
    shape = ",".join(map(str, tensor.shape))
    told = f'{{"dtype":"{tensor.kind}","shape":[{shape}],"data_offsets":[{begin},{end}]}}'
    return f"{_json(tensor.name)}:{told}".encode()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _shape(layer: Layer, stage: Stage) -> tuple[int, ...]:
    if layer.kind == "linear":
        return stage.out, stage.seen
    return stage.out, stage.seen, *stage.size(layer)
