"""An export checked anywhere: its file, its logits, its score."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from tdq_core.data.images import Images
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.models.registry import is_known_code
from tdq_core.models.wrapped import wrapped
from tdq_core.pipeline.exports.check import SAME_LOGITS, answers, answers_of, apart, require_file
from tdq_core.pipeline.exports.export import rebuilt
from tdq_core.pipeline.exports.told import Seen, Told
from tdq_core.specs.formats import FORMATS
from tdq_core.system import machine
from tdq_core.system.progress import Progress, silent


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        logits_apart: the largest difference of its logits from those that were written down, as a share of their
            spread.
        images: what it was scored on; None: on none.
        changed: images that are answered otherwise than recorded; None: other images than the recorded ones.
        wrong: a sentence for each thing that is not as it was.
    """

    told: Told
    logits_apart: float
    images: Seen | None
    changed: int | None
    wrong: tuple[str, ...]


def verify(
    folder: str | Path,
    *,
    data: str | Images | None = None,
    model: str | nn.Module | None = None,
    on_progress: Progress = silent,
) -> Verified:
    """Run the file of an export in a new process, and compare it with what was written down of it.

    Args:
        folder: as `tdq export` wrote it.
        data: labelled images, by name or opened; None: those that its card names, where it names any.
        model: what builds the network, for weights of one whose code is somebody's own; or that network, a module:
            then it is built in this process, for no other one has it.

    Raises:
        InputError: no export, a file that is another one, or images that are not there.
        RunFailed: the file cannot be loaded or run.
    """
    folder = Path(folder)
    told = Told.read(folder)
    path = require_file(folder, told)
    images = images_of(told, data, on_progress)
    _require_named(told, folder, model)
    if isinstance(model, nn.Module) and FORMATS[told.format].rebuilt:
        seen_as = told.preprocessing
        dense = wrapped(model, size=seen_as.input_size, mean=seen_as.mean, std=seen_as.std).module
        found = answers_of(rebuilt(dense, folder), told.preprocessing, images, on_progress=on_progress)
    else:
        named = model if isinstance(model, str) else None
        found = answers(path, told.format, told.preprocessing, images, precision=told.precision, model=named,
                        on_progress=on_progress)  # fmt: skip
    off = apart(found.logits, np.asarray(told.logits, np.float32))
    seen, changed = None, None
    if images is not None:
        source = told.images if told.images and told.images.digest == images.digest else None
        seen = Seen.of(found.correct, source=images.ref, digest=images.digest,
                       samples=source.samples if source else None, seed=source.seed if source else 0)  # fmt: skip
        changed = found.changed(source.correct()) if source else None
    return Verified(told, off, seen, changed, tuple(_what_is_wrong(told, off, seen, changed)))


def images_of(told: Told, data: str | Images | None, on_progress: Progress) -> Images | None:
    """The images that are given, or those that the export names; None: none are."""
    if data is not None and not isinstance(data, str):
        return data
    seen = told.images
    name = data or (seen.source if seen else None)
    if name is None:
        return None
    samples, seed = (seen.samples, seen.seed) if seen else (None, 0)
    return open_images(name, role="eval", samples=samples, seed=seed, num_classes=None, on_progress=on_progress)


def _require_named(told: Told, folder: Path, model: str | nn.Module | None) -> None:
    """Other people's code is run for those only who name it."""
    if FORMATS[told.format].rebuilt and model is None and not is_known_code(told.model):
        raise InputError(
            f"The export in '{folder}' is of '{told.model}', whose code is run for those only who name it: give it as "
            "model=... (--model)."
        )


def _what_is_wrong(told: Told, off: float, seen: Seen | None, changed: int | None) -> list[str]:
    where = str(told.made_with.get("cpu", ""))
    other = f" (it was made on another CPU, {where})" if where and where != machine.cpu_name() else ""
    wrong = []
    if off > SAME_LOGITS:
        wrong.append(f"Its logits on noise are {off:.2g} of their spread away from those written down{other}.")
    if changed and seen and told.images:
        before, now = told.images.score()[0], seen.score()[0]
        wrong.append(f"It scores {100 * now:.2f} %, and {100 * before:.2f} % was written down: {changed} of {seen.n} "
                     f"images are answered otherwise{other}.")  # fmt: skip
    return wrong
