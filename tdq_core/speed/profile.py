"""ONNX Runtime's own profiler, its operators told by the network's layers.

The runtime fuses and renames operators. What it still feeds with weights of a name is that layer's; what it lays out
anew is found by the tensor that it gives, going back in the file's graph to the operator with weights that made it.
"""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, NodeProto
from torch import Tensor

from tdq_core.compression.quantize.onnx_session import ERRORS_ONLY

_TIME = "_kernel_time"
_LAID_OUT = re.compile(r"_nchwc$|_nhwc$|_token_\d+$")


class Spent(NamedTuple):
    """Milliseconds of one pass.

    Attributes:
        layers: by layer; rest: of all other operators, by their kind.
    """

    layers: dict[str, float]
    rest: dict[str, float]


def profile(path: Path, images: Tensor, layers: Collection[str], *, passes: int) -> Spent:
    """Medians over `passes` of the time of each of `layers` (as the file's weights are named), on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "run.onnx")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name, fed = session.get_inputs()[0].name, images.contiguous().numpy()
        for _ in range(passes + 3):
            session.run(None, {name: fed})
        events = json.loads(Path(session.end_profiling()).read_text())
        owners = Owners(onnx.load(path).graph, onnx.load(options.optimized_model_filepath).graph, layers)
    return _medians(owners, list(_passes(events))[3:])


def _passes(events: Iterable[Mapping[str, object]]) -> Iterator[list[tuple[str, str, float]]]:
    """(operator's name, its kind, milliseconds) of each call of the session."""
    current: list[tuple[str, str, float]] = []
    for event in events:
        name, args = str(event["name"]), event.get("args")
        if event.get("cat") == "Node" and name.endswith(_TIME) and isinstance(args, Mapping):
            current.append((name.removesuffix(_TIME), str(args.get("op_name")), float(str(event["dur"])) / 1e3))
        elif name == "model_run" and current:
            yield current
            current = []


def _medians(owners: "Owners", passes: list[list[tuple[str, str, float]]]) -> Spent:
    layers: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(passes))
    rest: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(passes))
    for at, operators in enumerate(passes):
        met: dict[str, int] = defaultdict(int)
        for name, kind, ms in operators:
            owner = owners.of(name, kind, met)
            (layers[owner] if owner else rest[kind])[at] += ms
    middle = {True: layers, False: rest}
    found = [{name: float(np.median(ms)) for name, ms in middle[own].items()} for own in (True, False)]
    return Spent(*found)


class Owners:
    """Which layer an operator of the running graph belongs to."""

    def __init__(self, written: GraphProto, running: GraphProto, layers: Collection[str]) -> None:
        self._layers = sorted(layers, key=len, reverse=True)
        self._givers = {tensor: node for node in written.node for tensor in node.output}
        self._by_name = {node.name: node for node in running.node if node.name}
        self._unnamed: dict[str, list[NodeProto]] = defaultdict(list)
        for node in running.node:
            if not node.name:
                self._unnamed[node.op_type].append(node)

    def of(self, name: str, kind: str, met: dict[str, int]) -> str | None:
        """The layer of the operator `name`; `met` counts, by kind, those without a name that this pass has had."""
        node = self._by_name.get(name)
        if node is None:
            known, at = self._unnamed[kind], met[kind]
            met[kind] += 1
            node = known[at] if at < len(known) else None
        if node is None:
            return None
        own = self._of_weights(node)
        if own or node.op_type not in ("Conv", "FusedConv", "Gemm", "FusedGemm"):
            return own
        return self._behind(_LAID_OUT.sub("", name), set())

    def _of_weights(self, node: NodeProto) -> str | None:
        return next(
            (la for tensor in node.input for la in self._layers if tensor.startswith((f"{la}.weight", f"{la}.bias"))),
            None,
        )

    def _behind(self, tensor: str, seen: set[str]) -> str | None:
        """The layer whose operator made `tensor`, through what has no weights of its own."""
        node = self._givers.get(tensor)
        if node is None or tensor in seen:
            return None
        seen.add(tensor)
        own = self._of_weights(node)
        if own or node.op_type not in ("Relu", "Clip", "Add", "Sigmoid", "HardSigmoid", "LeakyRelu", "Tanh"):
            return own
        return next((found for each in node.input if (found := self._behind(each, seen))), None)
