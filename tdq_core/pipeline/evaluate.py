"""Measure a model: right or wrong for every image, and latency where it is asked for."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tdq_core.data.images import Images, batch_size
from tdq_core.records.record import Latency
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import all_threads, free_threads, threads

Predict = Callable[[Tensor], Tensor]


def outcomes(
    predict: Predict, images: Images, preprocessing: Preprocessing, *, on_progress: Progress = silent
) -> np.ndarray:
    """Whether each image is classified right, in order: bool of shape (n,). A prediction of NaN is wrong."""
    right: list[np.ndarray] = []
    done = 0
    with torch.inference_mode(), free_threads():
        for batch, labels in images.batches(preprocessing, batch_size=batch_size(preprocessing)):
            logits = predict(batch)
            finite = torch.isfinite(logits).all(dim=1)
            right.append(((logits.argmax(dim=1) == labels) & finite).numpy())
            done += len(labels)
            on_progress("evaluate", done, len(images))
    return np.concatenate(right)


def latency(predict: Predict, batch: Tensor, *, repeats: int = 30, warm_up: int = 5) -> Latency:
    """Median and quartiles of the time of one call, in milliseconds, after a warm-up; batch and threads beside them."""
    times = []
    with torch.inference_mode(), threads(all_threads()):
        for turn in range(warm_up + repeats):
            start = time.perf_counter()
            predict(batch)
            if turn >= warm_up:
                times.append((time.perf_counter() - start) * 1e3)
    q1, median, q3 = np.quantile(times, [0.25, 0.5, 0.75])
    return Latency(
        median_ms=float(median), q1_ms=float(q1), q3_ms=float(q3), batch=len(batch), threads=all_threads(),
        repeats=repeats,
    )  # fmt: skip
