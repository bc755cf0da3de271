"""ONNX Runtime's own profiler, its operators told by the network's layers.

To profile takes time of its own, some microseconds an operator: what all operators take together is held against the
same calls without the profiler, and each is told without its share of the difference.

The runtime fuses and renames operators. What it still feeds with weights of a name is that layer's; what it lays out
anew is found by the tensor that it gives, going back in the file's graph to the operator with weights that made it.
"""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, NodeProto
from torch import Tensor

from tdq_core.compression.quantize.onnx_session import ERRORS_ONLY
from tdq_core.pipeline.speed.clock import Call, settled

WARM_UP = 5
_TIME = "_kernel_time"
_LAID_OUT = re.compile(r"_nchwc$|_nhwc$|_token_\d+$")
_CAST = re.compile(r"^(?:FusedBack_|InsertedPrecisionFreeCast_|InsertedCast_)+")
"""What the runtime puts before names of halves that it takes to float32."""


class Spent(NamedTuple):
    """Milliseconds of each pass, (passes,).

    Attributes:
        layers: by layer; rest: of all other operators, by their kind.
        whole: of a call without the profiler, their median; in turn with the others, so that what disturbs the machine
            disturbs both.
    """

    layers: dict[str, np.ndarray]
    rest: dict[str, np.ndarray]
    whole: float


class Profiled(NamedTuple):
    """A file, and the layers by which its time is told, named as its weights are."""

    path: Path
    layers: Collection[str]


def profile(files: Sequence[Profiled], images: Tensor, *, passes: int, threads: int = 1) -> list[Spent]:
    """Where each file's time goes; the files take turns, so that their passes are pairs."""
    fed = images.contiguous().numpy()
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(at) for at in range(len(files))]
        sessions = [_session(each.path, at, threads) for each, at in zip(files, places, strict=True)]
        plain = [_session(each.path, None, threads) for each in files]
        whole, rows = np.empty((WARM_UP + passes, len(files))), np.empty((WARM_UP + passes, len(files)), dtype=int)
        for turn in range(WARM_UP + passes):
            for which in np.roll(np.arange(len(files)), -turn):
                _, rows[turn, which] = settled(_call(sessions[which], fed))
                whole[turn, which], _ = settled(_call(plain[which], fed))
        timed = np.cumsum(rows, axis=0)[WARM_UP:] - 1
        return [_spent(each, session, at, calls, float(np.median(ms))) for each, session, at, calls, ms in
                zip(files, sessions, places, timed.T, whole[WARM_UP:].T, strict=True)]  # fmt: skip


def _call(session: onnxruntime.InferenceSession, fed: np.ndarray) -> Call:
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: fed})


def _session(path: Path, profile_at: Path | None, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    if profile_at:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_at)
        options.optimized_model_filepath = str(profile_at.with_suffix(".onnx"))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _spent(
    each: Profiled, session: onnxruntime.InferenceSession, at: Path, timed: Sequence[int], whole: float
) -> Spent:
    """`timed`: which of the session's calls count; `whole`: milliseconds of a call without the profiler."""
    events = json.loads(Path(session.end_profiling()).read_text())
    owners = Owners(onnx.load(each.path).graph, onnx.load(at.with_suffix(".onnx")).graph, each.layers)
    called = list(_passes(events))
    passes = [called[at] for at in timed]
    own = overhead(passes, whole)
    layers: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(passes)))
    rest: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(passes)))
    for turn, operators in enumerate(passes):
        met: dict[str, int] = defaultdict(int)
        for name, kind, ms in operators:
            owner = owners.of(name, kind, met)
            (layers[owner] if owner else rest[kind])[turn] += max(ms - own, 0.0)
    return Spent(dict(layers), dict(rest), whole)


def overhead(passes: Sequence[Sequence[tuple[str, str, float]]], whole: float) -> float:
    """Milliseconds that the profiler adds to each operator, where a call takes `whole` without it."""
    together = float(np.median([sum(ms for _, _, ms in each) for each in passes]))
    return max(together - whole, 0.0) / len(passes[0])


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


class Owners:
    """Which layer an operator of the running graph belongs to."""

    def __init__(self, written: GraphProto, running: GraphProto, layers: Collection[str]) -> None:
        self._layers = sorted(layers, key=len, reverse=True)
        self._givers = {tensor: node for node in written.node for tensor in node.output}
        self._as_written = {node.name: node for node in written.node if node.name}
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
        if name in self._as_written and (own := self._of_weights(self._as_written[name])):
            return own
        return self._behind(_CAST.sub("", _LAID_OUT.sub("", name)), set())

    def _of_weights(self, node: NodeProto) -> str | None:
        fed = [_CAST.sub("", tensor) for tensor in node.input]
        found = (la for tensor in fed for la in self._layers if tensor.startswith((f"{la}.weight", f"{la}.bias")))
        return next(found, None)

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
