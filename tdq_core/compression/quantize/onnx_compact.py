"""The same ONNX graph in fewer bytes: of small quantized models, names and repeated zeros are a fifth."""

import itertools
from collections.abc import Iterator, Mapping
from string import ascii_lowercase

from onnx import GraphProto, ModelProto, TensorProto


def compact(proto: ModelProto) -> None:
    """Shorten `proto` in place; it computes what it computed.

    Equal constants are kept once, values and constants get short names, and what a runtime infers or does not read
    (names of nodes, shapes of values within) goes. Inputs, outputs and weights (constants of two dimensions or more)
    keep their names. A graph with graphs within (If, Loop) sees names from outside and is left as it is.
    """
    graph = proto.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return
    ends = {value.name for value in (*graph.input, *graph.output)}
    _rename(graph, _shared(graph, ends))
    fixed = ends | {t.name for t in graph.initializer if len(t.dims) > 1}
    short = _short_names(fixed)
    names = [t.name for t in graph.initializer] + [name for node in graph.node for name in node.output if name]
    _rename(graph, {name: next(short) for name in names if name not in fixed})
    for node in graph.node:
        node.name = ""
    del graph.value_info[:]


def _shared(graph: GraphProto, ends: set[str]) -> dict[str, str]:
    """Remove constants that equal an earlier one; name of each -> name of the one that stays."""
    first: dict[bytes, str] = {}
    gone: dict[str, str] = {}
    for tensor in graph.initializer:
        stays = first.setdefault(_content(tensor), tensor.name)
        if stays != tensor.name and tensor.name not in ends:
            gone[tensor.name] = stays
    kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return gone


def _content(tensor: TensorProto) -> bytes:
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField("name")
    return bare.SerializeToString(deterministic=True)


def _short_names(taken: set[str]) -> Iterator[str]:
    """a, b, ..., z, aa, ab, ... without those that are taken."""
    for length in itertools.count(1):
        for letters in itertools.product(ascii_lowercase, repeat=length):
            if (name := "".join(letters)) not in taken:
                yield name


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
