"""An int8 file run as CPUs with and without VNNI run it, on any CPU, and what each layer loses on the way."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from torch import Tensor

from tdq_core.compression.quantize.artefact import Predict
from tdq_core.compression.quantize.onnx_session import open_session
from tdq_core.compression.quantize.saturation.opened import addend, opened
from tdq_core.compression.quantize.saturation.pairs import Lost
from tdq_core.compression.quantize.saturation.running import IntegerLayer, as_run, integer_layers

NOTHING = np.zeros(1, np.int32)


@dataclass
class Losses:
    """What a layer has lost on all images so far.

    Attributes:
        pairs: of products that have saturated; outputs: numbers that the layer gave.
        lost: sum of the squares of what its outputs lost; total, squares: sums of its outputs and of their squares; all
            in units of its outputs' grid, or in floats where these are not rounded.
    """

    pairs: int = 0
    outputs: int = 0
    lost: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def share(self) -> float:
        """Which part of the spread of the outputs what was lost is, in [0, 1]: root mean squares, the outputs' about
        their mean and with what they lost."""
        spread = max(self.squares - self.total**2 / max(self.outputs, 1), 0.0)
        return float(np.sqrt(self.lost / (self.lost + spread))) if self.lost else 0.0

    def add_lost(self, layer: IntegerLayer, found: Lost) -> None:
        """What the sums of a layer have lost on a batch."""
        channels = 1 if layer.window else -1
        sums = np.moveaxis(found.sums, channels, 0).reshape(found.sums.shape[channels], -1)
        each = np.square(sums.astype(np.float64)).sum(axis=1)
        self.pairs += found.pairs
        self.lost += float((each * layer.scale.astype(np.float64) ** 2).sum())

    def add_outputs(self, layer: IntegerLayer, y: np.ndarray) -> None:
        """What a layer gave for a batch."""
        values = np.arange(256.0) if layer.rounded else y.ravel().astype(np.float64)
        counts = np.bincount(y.ravel(), minlength=256) if layer.rounded else np.ones(y.size)
        self.outputs += y.size
        self.total += float(counts @ values)
        self.squares += float(counts @ values**2)


@dataclass(frozen=True)
class Piece:
    """Operators that run at once: from a layer's sums to the next layer's input.

    Attributes:
        takes, gives: names, of what it is fed and of what others take from it.
        closes: the layer whose output it gives; layer: the one whose input it gives; None: it gives the answer.
    """

    session: onnxruntime.InferenceSession
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    closes: IntegerLayer | None
    layer: IntegerLayer | None


class Emulated:
    """A file ready to run both ways.

    Attributes:
        layers: those whose kernels add in pairs, in their order.
    """

    def __init__(self, path: Path, threads: int) -> None:
        proto = as_run(path)
        self.layers = integer_layers(proto)
        self._input, self._output = proto.graph.input[0].name, proto.graph.output[0].name
        self._pieces = list(_pieces(opened(proto, self.layers), self.layers, self._output, threads))

    def exact(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) float32 with sums in 32 bits, as with VNNI."""
        return self._run(images, lambda layer, known: None)

    def saturating(self, losses: dict[str, Losses] | None = None, *, only: str | None = None) -> Predict:
        """The function that gives them with sums of pairs in 16 bits, as without VNNI.

        Args:
            losses: by name, to which it adds what each layer loses.
            only: the one layer that saturates; None: all do.
        """
        losses = {} if losses is None else losses

        def lost(layer: IntegerLayer, known: Mapping[str, np.ndarray]) -> Lost | None:
            if only not in (None, layer.name):
                return None
            if found := layer.lost(known[layer.x]):
                losses.setdefault(layer.name, Losses()).add_lost(layer, found)
            return found

        def closed(layer: IntegerLayer, y: np.ndarray) -> None:
            losses.setdefault(layer.name, Losses()).add_outputs(layer, y)

        return lambda images: self._run(images, lost, closed)

    def _run(
        self,
        images: Tensor,
        lost: Callable[[IntegerLayer, Mapping[str, np.ndarray]], Lost | None],
        closed: Callable[[IntegerLayer, np.ndarray], None] = lambda layer, y: None,
    ) -> Tensor:
        known: dict[str, np.ndarray] = {self._input: images.detach().contiguous().numpy()}
        known |= {addend(layer): NOTHING for layer in self.layers}
        for piece in self._pieces:
            given = piece.session.run(list(piece.gives), {name: known[name] for name in piece.takes})
            known |= dict(zip(piece.gives, given, strict=True))
            if piece.closes:
                closed(piece.closes, known[piece.closes.y])
                known[addend(piece.closes)] = NOTHING
            if piece.layer and (found := lost(piece.layer, known)):
                known[addend(piece.layer)] = found.sums
        return torch.from_numpy(known[self._output])


def _pieces(proto: ModelProto, layers: list[IntegerLayer], answer: str, threads: int) -> Iterator[Piece]:
    """The opened graph cut before each layer: what is lost there is known when its input is."""
    givers = {name: node for node in proto.graph.node for name in node.output}
    types = {la.x: TensorProto.UINT8 for la in layers}
    types |= {la.y: TensorProto.UINT8 if la.rounded else TensorProto.FLOAT for la in layers}
    ends = {v.name: v for v in (*proto.graph.input, *proto.graph.output)}
    ends |= {n: helper.make_tensor_value_info(n, kind, None) for n, kind in types.items() if n not in ends}
    known = {each.name for each in proto.graph.input}
    closes: IntegerLayer | None = None
    for layer in (*layers, None):
        end = layer.x if layer else answer
        wanted = [name for name in dict.fromkeys((*([closes.y] if closes else []), end)) if name not in known]
        piece = _cut(proto, givers, known, wanted, ends)
        taken = tuple(each.name for each in piece.graph.input)
        yield Piece(open_session(piece.SerializeToString(), threads), taken, tuple(wanted), closes, layer)
        known |= set(wanted)
        closes = layer


def _cut(
    proto: ModelProto,
    givers: Mapping[str, NodeProto],
    known: set[str],
    wanted: list[str],
    ends: Mapping[str, ValueInfoProto],
) -> ModelProto:
    """The part of the graph from what is `known` to what is `wanted`."""
    constants = {t.name: t for t in proto.graph.initializer}
    needed: set[str] = set()
    seen, left = set(wanted), list(wanted)
    while left:
        name = left.pop()
        if name not in known and name not in constants:
            needed.add(givers[name].output[0])
            left += [each for each in givers[name].input if each and each not in seen]
            seen |= set(givers[name].input)
    piece = ModelProto()
    piece.ir_version = proto.ir_version
    piece.opset_import.extend(proto.opset_import)
    piece.graph.name = "piece"
    piece.graph.node.extend(node for node in proto.graph.node if node.output[0] in needed)
    piece.graph.initializer.extend(tensor for name, tensor in constants.items() if name in seen)
    piece.graph.input.extend(ends[name] for name in sorted(seen & known))
    piece.graph.output.extend(ends[name] for name in wanted)
    return piece
