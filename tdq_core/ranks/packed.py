"""Bytes of the packed file of simulated bits, by arithmetic alone: what `compression.quantize.simulated_file` writes.

A safetensors file is 8 bytes, a header of JSON filled up to a multiple of 8, and the tensors without gaps. The header
is a good part of a small network's file: every tensor has its name, its shape and its place in it. No torch here.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tdq_core.errors import InputError
from tdq_core.layers.methods import WHOLE, Ranks, Stage, method
from tdq_core.layers.table import Files, Layer, LayerTable, Stored
from tdq_core.specs.precision_spec import PrecisionSpec

END_BITS = 8
"""Of the first convolution and of the last layer, which are small and the most sensitive."""
SCALES, ZERO_POINTS = "activations.scale", "activations.zero_point"
ABOUT = "tdq"
"""The key of the file's metadata."""
ALIGNED = 8
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
        bits = precision.numbers.weight_bits
        self._idle = [Part(name, tuple(shape), bits, bias, 0, counts=False)
                      for name, (shape, bias) in self.files.unreached.items()]  # fmt: skip
        ends = {layer.end: layer.name for layer in table.layers if layer.end}
        self._first = ends.get("first", "")
        self._last = ends.get("classifier", self._first)  # the only layer is both

    def parts(self, layer: Layer, name: str, ranks: Ranks, bits: int) -> list[Part]:
        """What becomes of `layer` by the method `name` at `ranks`, its weights of `bits`; itself by 'none'."""
        if layer.name not in self.files.packed:
            return []  # it is among the others: no plain layer
        own = [Stage("", layer.c_out, layer.one_group.c_in, WHOLE)]
        stages = own if name == "none" else method(name).all_stages(layer, ranks)
        bias = layer.c_out * self.files.packed[layer.name]
        last = len(stages) - 1
        ends = [at for at, end in ((0, self._first), (last, self._last)) if layer.name == end]
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
        tensors = [*self.files.others, *(t for part in parts for t in self._tensors(part)), *_grids(parts)]
        about = {"weights": {p.name: [p.bits, list(p.shape)] for p in parts},
                 "activations": {p.name: self._told(p) for p in parts if p.calls}}  # fmt: skip
        return file_size(tensors, {ABOUT: json.dumps(about, separators=(",", ":"))})

    def data(self, layer: Layer, name: str, ranks: Any, bits: int) -> Any:
        """Bytes of the tensors of `layer` alone; `ranks` may be arrays that broadcast."""
        stages = method(name).all_stages(layer, ranks)
        kept = dict.fromkeys(range(len(stages)), bits)
        kept |= {0: END_BITS} if layer.name == self._first else {}
        kept |= {len(stages) - 1: END_BITS} if layer.name == self._last else {}
        channels = self._precision.granularity == "channel"
        total: Any = 4 * layer.c_out * self.files.packed[layer.name]
        for at, stage in enumerate(stages):
            total = total + -(-stage.numbers(layer) * kept[at] // 8) + 4 * (stage.out if channels else 1)
        if self._precision.numbers.activation_bits:
            total = total + 5 * layer.calls * len(stages)
        return total

    def most(self, parts: Iterable[Part], digits: int) -> int:
        """Bytes that these parts add to a file whose size has so many `digits`, at most: their tensors, and what the
        header says of them."""
        total = 0
        for part in parts:
            tensors = self._tensors(part)
            total += sum(t.bytes * t.counts + len(_entry(t, "9" * digits, "9" * digits)) + 1 for t in tensors)
            told = json.dumps({part.name: [part.bits, list(part.shape)]}, separators=(",", ":"))
            total += len(json.dumps(told)) - 3  # quotes and braces go, a comma comes
            if part.calls:
                told = json.dumps({part.name: self._told(part)}, separators=(",", ":"))
                total += len(json.dumps(told)) - 3 + 5 * part.calls
        return total

    def frame(self, digits: int) -> int:
        """Bytes of a file of so many `digits` without its layers, at most."""
        grids = [Stored(SCALES, "F32", (10**digits,), 0), Stored(ZERO_POINTS, "U8", (10**digits,), 0)]
        told = json.dumps({ABOUT: json.dumps({"weights": {}, "activations": {}}, separators=(",", ":"))})
        entries = sum(len(_entry(t, "9" * digits, "9" * digits)) + 1 for t in (*self.files.others, *grids))
        own = sum(t.bytes for t in self.files.others if t.counts) + self.most(self._idle, digits)
        return 8 + len('{"__metadata__":}') + len(told) + entries + ALIGNED + own

    def _tensors(self, part: Part) -> list[Stored]:
        numbers = 1
        for size in part.shape:
            numbers *= size
        scales = part.shape[0] if self._precision.granularity == "channel" else 1
        packed = -(-numbers * part.bits // 8)
        found = [
            Stored(f"{part.name}.weight", "U8", (packed,), packed, part.counts),
            Stored(f"{part.name}.weight.scale", "F32", (scales,), 4 * scales, part.counts),
        ]
        bias = Stored(f"{part.name}.bias", "F32", (part.bias,), 4 * part.bias, part.counts)
        return [*found, bias] if part.bias else found

    def _told(self, part: Part) -> int | list[int]:
        bits = self._precision.numbers.activation_bits or 0
        return bits if part.calls == 1 else [bits, part.calls]


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


def _grids(parts: Sequence[Part]) -> list[Stored]:
    count = sum(part.calls for part in parts)
    return [Stored(SCALES, "F32", (count,), 4 * count), Stored(ZERO_POINTS, "U8", (count,), count)] if count else []


def _shape(layer: Layer, stage: Stage) -> tuple[int, ...]:
    if layer.kind == "linear":
        return stage.out, stage.seen
    return stage.out, stage.seen, *stage.size(layer)
