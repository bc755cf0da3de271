"""What a run answers to its images: right or wrong, and how far from the dense network's answers.

These are asked for once: the run of the dense network leaves them with the session and in a file, for the runs that are
measured against it.
"""

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tdq_core.pipeline.evaluate import Predict, with_logits, with_moves
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.system.cache import Cache
from tdq_core.system.progress import Progress

HELD = 2
"""Networks whose answers stay in memory: the last ones asked for."""


class Answers:
    """Logits (n, classes) by the run that gave them, here or in another process that keeps them in the same `cache`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._held: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, run_id: str, n: int) -> Tensor | None:
        """Those of this run, to n images; None where they are not at hand."""
        if run_id not in self._held:
            content = self._cache.get(_name(run_id))
            found = _read(content, n) if content else None
            if found is None:
                return None
            self._hold(run_id, found)
        return self._held[run_id]

    def keep(self, run_id: str, logits: Tensor) -> None:
        """Have them at hand from now on."""
        self._hold(run_id, logits)
        self._cache.put(_name(run_id), save({"logits": logits.contiguous()}))

    def _hold(self, run_id: str, logits: Tensor) -> None:
        self._held[run_id] = logits
        self._held.move_to_end(run_id)
        while len(self._held) > HELD:
            self._held.popitem(last=False)


def evaluated(
    inputs: RunInputs, predict: Predict, answers: Answers, before: Tensor | None, on_progress: Progress
) -> tuple[np.ndarray, np.ndarray | None]:
    """Of every image whether `predict` is right, and how far its answer is from that `before`, that of the dense
    network; None: this is the dense network, whose answers are kept."""
    images, preprocessing = inputs.images, inputs.model.preprocessing
    if before is not None:
        return with_moves(predict, images, preprocessing, before, on_progress=on_progress)
    correct, logits = with_logits(predict, images, preprocessing, on_progress=on_progress)
    answers.keep(inputs.run_id, logits)
    return correct, None


def dense_answers(inputs: RunInputs, answers: Answers, on_progress: Progress) -> Tensor:
    """Logits of the dense network to the images of a run; where its own run was not measured here, they are asked for
    now."""
    dense = inputs.dense()
    found = answers.get(dense.run_id, len(dense.images))
    if found is None:
        images, preprocessing = dense.images, dense.model.preprocessing
        found = with_logits(dense.model.module, images, preprocessing, stage="answers of the dense network",
                            on_progress=on_progress)[1]  # fmt: skip
        answers.keep(dense.run_id, found)
    return found


def _name(run_id: str) -> str:
    """Other versions of torch give other last digits."""
    return hashlib.sha256(f"{run_id}\n{torch.__version__}".encode()).hexdigest()


def _read(content: bytes, n: int) -> Tensor | None:
    try:
        logits = load(content)["logits"]
    except (SafetensorError, KeyError, ValueError):
        return None
    return logits if logits.ndim == 2 and len(logits) == n and logits.is_floating_point() else None
