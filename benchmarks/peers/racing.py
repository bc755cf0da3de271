"""All files in one process: scored on the same images, and called in turn on one clock."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

import tdq_core as tdq
from benchmarks.peers.making import Made
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.data.images import Images
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.pipeline.speed.clock import race, ratio, timing
from tdq_core.pipeline.speed.record import Ratio, Timing
from tdq_core.stats.intervals import paired_mean, wilson

DENSE, RIVAL = "dense fp32", "ONNX Runtime INT8"
Predict = Callable[[Tensor], Tensor]


class Row(Struct, frozen=True, kw_only=True):
    """One way, measured.

    Attributes:
        top1: (share, low, high), 95 %; drop: against the dense network in fp32, paired by image, 95 %; n: images.
        ms: of a call of one image on one thread; times: as fast as ONNX Runtime's INT8 alone, round by round.
    """

    made: Made
    top1: tuple[float, float, float] | None = None
    drop: tuple[float, float, float] | None = None
    n: int = 0
    ms: Timing | None = None
    times: Ratio | None = None


def rows(every: list[Made], folders: Mapping[str, Path], net: tdq.Network, images: Images, seconds: float) -> list[Row]:
    """What was made, scored and timed; where nothing was made, the reason alone."""
    calls = {m.way: predict_of(folders[m.way] / m.file) for m in every if m.file}
    right = {way: outcomes(predict, images, net.preprocessing) for way, predict in calls.items()}
    one = next(iter(images.batches(net.preprocessing, batch_size=1)))[0]
    with torch.inference_mode():
        _, ms = race({way: partial(predict, one) for way, predict in calls.items()}, seconds=seconds)
    return [_row(m, right, ms) if m.file else Row(made=m) for m in every]


def _row(made: Made, right: Mapping[str, np.ndarray], ms: Mapping[str, np.ndarray]) -> Row:
    own = right[made.way]
    lost = right[DENSE].astype(float) - own.astype(float)
    return Row(
        made=made, top1=(float(own.mean()), *wilson(int(own.sum()), len(own))), drop=paired_mean(lost), n=len(own),
        ms=timing(ms[made.way]), times=None if made.way == RIVAL else ratio(ms[made.way], ms[RIVAL]),
    )  # fmt: skip


def predict_of(path: Path) -> Predict:
    """The file, on one thread of the runtime that it was made for."""
    return session_predict(path, 1) if path.suffix == ".onnx" else _openvino(path)


def _openvino(path: Path) -> Predict:
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(path, "CPU", settings)

    def predict(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled(images.contiguous().numpy())[0].copy())

    return predict
