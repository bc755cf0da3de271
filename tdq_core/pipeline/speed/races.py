"""A network against others on the same clock, at several batches and threads."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tdq_core.compression.quantize.artefact import Predict
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.errors import InputError
from tdq_core.pipeline.speed.clock import Call, race, ratio, timing
from tdq_core.pipeline.speed.record import Race
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import all_threads, threads

LARGEST_BATCH = 4096


@dataclass(frozen=True)
class Runner:
    """What is called.

    Attributes:
        what: a file for ONNX Runtime, or a function of torch.
    """

    backend: str
    precision: str
    what: Path | Predict


@dataclass(frozen=True)
class Settings:
    """How is timed.

    Attributes:
        batches: images a call; threads: of the runtime, 0: all; seconds: of each race.
    """

    batches: Sequence[int] = (1, 16)
    threads: Sequence[int] = (1, 0)
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.batches or not all(1 <= batch <= LARGEST_BATCH for batch in self.batches):
            raise InputError(f"A 'batch' is 1 to {LARGEST_BATCH} images. Got {', '.join(map(str, self.batches))}.")
        if not self.threads or not all(0 <= count <= all_threads() for count in self.threads):
            raise InputError(
                f"The 'threads' are 1 to {all_threads()} here, or 0 for all of them. "
                f"Got {', '.join(map(str, self.threads))}."
            )
        if not 0 < self.seconds <= 600:
            raise InputError(f"A race takes up to 600 'seconds'. Got {self.seconds:g}.")

    def counts(self) -> list[int]:
        """Numbers of threads, each once."""
        return list(dict.fromkeys(count or all_threads() for count in self.threads))


def races(
    run: Runner, rivals: Mapping[str, Runner], example: Tensor, settings: Settings, *, on_progress: Progress = silent
) -> list[Race]:
    """`run` against `rivals`, all of one backend, on images of `example` (N, C, H, W)."""
    found: list[Race] = []
    total = len(settings.batches) * len(settings.counts())
    for batch in settings.batches:
        images = example[torch.arange(batch) % len(example)].contiguous()
        for count in settings.counts():
            on_progress(f"time on {run.backend}", len(found), total)
            with _calls({"": run, **rivals}, images, count) as calls:
                rounds, ms = race(calls, seconds=settings.seconds)
            own = ms.pop("")
            found.append(
                Race(backend=run.backend, precision=run.precision, batch=batch, threads=count, rounds=rounds,
                     run=timing(own), rivals={name: timing(each) for name, each in ms.items()},
                     ratios={name: ratio(own, each) for name, each in ms.items()}, settled=True)
            )  # fmt: skip
    on_progress(f"time on {run.backend}", total, total)
    return found


@contextlib.contextmanager
def _calls(runners: Mapping[str, Runner], images: Tensor, count: int) -> Iterator[dict[str, Call]]:
    predicts = {name: _predict(each, count) for name, each in runners.items()}
    with threads(count), torch.inference_mode():
        yield {name: _call(predict, images) for name, predict in predicts.items()}


def _predict(runner: Runner, count: int) -> Predict:
    return session_predict(runner.what, count) if isinstance(runner.what, Path) else runner.what


def _call(predict: Predict, images: Tensor) -> Callable[[], object]:
    return lambda: predict(images)
