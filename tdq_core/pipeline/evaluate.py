"""Measure a model: right or wrong for every image, how far its answers moved, and latency where it is asked for."""

import time
from collections.abc import Callable, Iterator

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
    return np.concatenate([right for right, _ in _passed(predict, images, preprocessing, "evaluate", on_progress)])


def with_logits(
    predict: Predict, images: Images, preprocessing: Preprocessing, *, stage: str = "evaluate",
    on_progress: Progress = silent,
) -> tuple[np.ndarray, Tensor]:  # fmt: skip
    """The outcomes, and the logits (n, classes)."""
    passed = [(right, logits.clone()) for right, logits in _passed(predict, images, preprocessing, stage, on_progress)]
    return np.concatenate([right for right, _ in passed]), torch.cat([logits for _, logits in passed])


def with_moves(
    predict: Predict, images: Images, preprocessing: Preprocessing, before: Tensor, *, on_progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes, and how far each answer is from that of `before` (n, classes), of shape (n,): the squared change of
    the centred logits over the mean square of those of `before`; its mean over all images is the change that
    sensitivities hold. Not finite where an answer is not."""
    right, moved, done = [], [], 0
    for correct, logits in _passed(predict, images, preprocessing, "evaluate", on_progress):
        right.append(correct)
        moved.append(_squares(logits.double() - before[done : done + len(logits)]))
        done += len(logits)
    return np.concatenate(right), (torch.cat(moved) / _squares(before.double()).mean()).numpy()


def _squares(logits: Tensor) -> Tensor:
    """By image, of logits less their mean, which moves no answer."""
    return (logits - logits.mean(dim=1, keepdim=True)).square().sum(dim=1)


def _passed(
    predict: Predict, images: Images, preprocessing: Preprocessing, stage: str, on_progress: Progress
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Batch by batch right or wrong, and logits: until the next batch, for a backend may use their memory again."""
    done = 0
    with torch.inference_mode(), free_threads():
        for batch, labels in images.batches(preprocessing, batch_size=batch_size(preprocessing)):
            logits = predict(batch)
            finite = torch.isfinite(logits).all(dim=1)
            yield ((logits.argmax(dim=1) == labels) & finite).numpy(), logits
            done += len(labels)
            on_progress(stage, done, len(images))


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
