"""Weights of single layers of an int8 file within 7 bits, where no pair of products can exceed 16 bits.

2 * 255 * 64 = 32,640 fits, in whatever order a kernel takes its pairs. The file keeps its form: whatever read it before
reads it now.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from tdq_core.compression.quantize.scheme import REDUCED_INT8_LIMIT
from tdq_core.errors import RunFailed

DQ = "DequantizeLinear"


def keep_in_seven_bits(source: Path, target: Path, weights: Collection[str]) -> None:
    """Write the file `source` as `target` with the named weights rounded to integers within +-64.

    Steps of a channel grow by what its largest integer needs, at most twofold; biases, whose steps are those of the
    weights, follow. RunFailed: the file does not hold these weights as files of TDQ do.
    """
    proto = onnx.load(source)
    held = _Held(proto)
    for name in weights:
        _narrow(held, name)
    used = {name for node in proto.graph.node for name in node.input} | {each.name for each in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    onnx.save(proto, target)


class _Held:
    """A graph by its names."""

    def __init__(self, proto: ModelProto) -> None:
        self.graph = proto.graph
        self.constants = {t.name: t for t in proto.graph.initializer}
        self.givers = {name: node for node in proto.graph.node for name in node.output}
        self.uses = Counter(name for node in proto.graph.node for name in node.input)

    def values(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def add(self, name: str, values: np.ndarray) -> str:
        """A new constant: one that is there may serve others too."""
        while name in self.constants or name in self.givers:
            name += "_"
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        self.constants[name] = self.graph.initializer[-1]
        return name


def _narrow(held: _Held, name: str) -> None:
    readers = [node for node in held.graph.node if node.op_type == DQ and node.input[0] == name]
    if name not in held.constants or held.constants[name].data_type != TensorProto.INT8 or not readers:
        raise RunFailed(f"The file has no int8 weights '{name}' behind {DQ}, as files of TDQ have: export it again.")
    integers, scale = held.values(name), held.values(readers[0].input[1])
    axis = next((a.i for a in readers[0].attribute if a.name == "axis"), 1)
    sides = tuple(i for i in range(integers.ndim) if scale.size == 1 or i != axis % integers.ndim)
    largest = np.abs(integers.astype(np.int32)).max(axis=sides, keepdims=True)
    factors = np.maximum(1.0, largest / REDUCED_INT8_LIMIT)
    held.constants[name].CopyFrom(numpy_helper.from_array(np.rint(integers / factors).astype(np.int8), name))
    wider = factors.reshape(scale.shape)
    wide = held.add(f"{name}_wide", (scale * wider).astype(np.float32))
    for reader in readers:
        reader.input[1] = wide
    given = {reader.output[0] for reader in readers}
    own = [node for node in held.graph.node if given & set(node.input)]
    for bias in dict.fromkeys(node.input[2] for node in own if len(node.input) > 2):
        if held.uses[bias] > sum(bias in node.input for node in own):
            raise RunFailed(f"The bias '{bias}' of the weights '{name}' is another layer's too: it cannot follow them.")
        _follow(held, bias, wider)


def _follow(held: _Held, name: str, wider: np.ndarray) -> None:
    """The integers of a bias in the wider steps of its weights."""
    giver = held.givers.get(name)
    if giver is None or giver.op_type != DQ:
        raise RunFailed(f"The bias '{name}' is not behind {DQ}, as those of TDQ's files are: export it again.")
    _set(held, giver, 0, np.rint(held.values(giver.input[0]) / wider).astype(np.int32))
    _set(held, giver, 1, (held.values(giver.input[1]) * wider).astype(np.float32))


def _set(held: _Held, node: NodeProto, place: int, values: np.ndarray) -> None:
    node.input[place] = held.add(f"{node.input[place]}_wide", values)
