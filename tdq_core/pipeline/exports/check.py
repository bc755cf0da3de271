"""Whether a file is what was measured: asked of a process of its own, image by image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tdq_core.data.images import Images, batch_size
from tdq_core.errors import InputError, RunFailed
from tdq_core.pipeline.exports.fresh import fresh
from tdq_core.pipeline.exports.loading import lines
from tdq_core.pipeline.exports.told import Told, noise
from tdq_core.specs.formats import FORMATS
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.files import file_sha256
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import Progress, silent

Ask = Callable[[np.ndarray], np.ndarray]
"""From images (N, C, H, W) float32 to logits (N, classes)."""
SAME_LOGITS = 1e-3
"""Of their spread: as exports are held against torch."""
TIE = 1e-3
"""An image whose best two logits are closer than this share of their spread is undecided: sums in another order may
turn it."""


@dataclass(frozen=True)
class Answers:
    """What a fresh process made of images.

    Attributes:
        correct: bool of shape (n,); undecided: of which ones, by `TIE`.
        logits: (2, classes) of `told.noise`.
    """

    correct: np.ndarray
    undecided: np.ndarray
    logits: np.ndarray

    def changed(self, before: np.ndarray) -> int:
        """Images that are right or wrong otherwise than `before`, and not undecided."""
        return int(((self.correct != before) & ~self.undecided).sum())


def answers(
    file: Path,
    format: str,
    prepared: Preprocessing,
    images: Images | None,
    *,
    precision: str,
    model: str | None = None,
    on_progress: Progress = silent,
) -> Answers:
    """Load `file` in a new process, and let it answer; without `images` only to noise.

    Raises:
        RunFailed: it cannot be loaded or run there, or it needs TDQ where its format promises to run without.
    """
    alone = not FORMATS[format].rebuilt
    load = lines(format, file.resolve(), precision=precision, model=repr(model) if model else None)
    with temporary_folder() as scratch, fresh(load, alone=alone, scratch=scratch) as ask:
        if alone and ask.foreign:
            raise RunFailed(f"The file '{file}' was to run without this project, and loads {', '.join(ask.foreign)}.")
        return answers_of(ask, prepared, images, on_progress=on_progress)


def answers_of(ask: Ask, prepared: Preprocessing, images: Images | None, *, on_progress: Progress = silent) -> Answers:
    """What `ask` makes of noise, and of `images` where there are any."""
    logits = ask(noise(prepared))
    correct, undecided = _scored(ask, images, prepared, on_progress) if images is not None else _NONE
    return Answers(correct, undecided, logits)


_NONE = (np.zeros(0, bool), np.zeros(0, bool))


def _scored(ask: Ask, images: Images, prepared: Preprocessing, on_progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    right, undecided, done = [], [], 0
    for batch, labels in images.batches(prepared, batch_size=batch_size(prepared)):
        logits = ask(batch.numpy())
        finite = np.atleast_1d(np.isfinite(logits).all(axis=1))
        best = np.sort(np.where(finite[:, None], logits, 0.0), axis=1)
        spread = np.maximum(best[:, -1] - best[:, 0], np.finfo(np.float32).tiny)
        gap = best[:, -1] - best[:, -2] if best.shape[1] > 1 else spread  # one class is always decided
        undecided.append((gap / spread < TIE) & finite)
        right.append((logits.argmax(1) == labels.numpy()) & finite)
        done += len(labels)
        on_progress("check in a new process", done, len(images))
    return np.concatenate(right), np.concatenate(undecided)


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two sets of logits (N, classes) as a share of the largest spread of an image's."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    spread = float((expected.max(1) - expected.min(1)).max())
    off = float(np.abs(found - expected).max())
    return off / max(spread, float(np.finfo(np.float32).tiny)) if off else 0.0


def require_file(folder: Path, told: Told) -> Path:
    """The file of an export, as it was written; InputError where it is another one or gone."""
    path = folder / told.file
    if not path.is_file():
        raise InputError(f"The export in '{folder}' lacks its file '{told.file}': export the run again.")
    if (found := file_sha256(path)) != told.sha256:
        raise InputError(
            f"The file '{path}' is not the one that was exported: its SHA-256 starts with {found[:8]}, not "
            f"{told.sha256[:8]}; export the run again."
        )
    return path
