"""Will an int8 export survive CPUs without VNNI? Both scores from one machine, the guilty layers, and a repair."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from tdq_core.compression.quantize.artefact import Artefact
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.onnx_version import told as versions_of
from tdq_core.compression.quantize.saturation.emulated import Emulated, Losses
from tdq_core.compression.quantize.saturation.seven_bits import keep_in_seven_bits
from tdq_core.data.images import Images, batch_size
from tdq_core.errors import InputError, RunFailed
from tdq_core.pipeline.evaluate import Predict, outcomes
from tdq_core.pipeline.export import require_export
from tdq_core.pipeline.exports.card import tell_saturation
from tdq_core.pipeline.exports.check import SAME_LOGITS, apart, require_file
from tdq_core.pipeline.exports.export import Made, Source, finish, require_free
from tdq_core.pipeline.exports.told import Told, noise
from tdq_core.pipeline.exports.verify import images_of
from tdq_core.pipeline.exports.without_vnni import NAME, LayerLoss, Saturation
from tdq_core.system.files import file_sha256, write_atomically
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import all_threads

ALONE = 100
"""Images on which layers saturate one by one."""
WITHIN = 0.2
"""Points of top-1 that a repaired file may lose without VNNI, where nothing else is asked for."""


@dataclass(frozen=True)
class Repaired:
    """What a repair has come to.

    Attributes:
        folder: of the new export; None: none was needed.
        found: of the repaired file, against its own scores.
        lost: top-1 of the file before with VNNI less that of the repaired one without, a share.
        enough: it is within what was asked for; where not, the file loses least of those that were tried.
    """

    folder: Path | None
    found: Saturation
    lost: float
    enough: bool


@dataclass(frozen=True)
class Subject:
    """An export, the images that it is run on, and their name where they have one."""

    folder: Path
    told: Told
    path: Path
    images: Images
    source: str | None

    def outcomes(self, predict: Predict, what: str, on_progress: Progress) -> np.ndarray:
        def told(_: str, done: int, total: int) -> None:
            on_progress(what, done, total)

        return outcomes(predict, self.images, self.told.preprocessing, on_progress=told)


def saturation(folder: str | Path, *, data: str | Images | None = None, on_progress: Progress = silent) -> Saturation:
    """Run an int8 ONNX export as x86 CPUs with and without VNNI run it, whatever this one is, and write down what is
    found beside it: both scores on the same images, and what each layer loses.

    Args:
        folder: as `tdq export --format onnx` wrote it; data: labelled images; None: those that it names.

    Raises:
        InputError: no int8 ONNX export, a file that is another one, or no images.
        RunFailed: the file has operators that are not known, or the emulation does not give the logits that the export
            wrote down.
    """
    subject = _opened(folder, data, on_progress)
    found, _ = _checked(subject, on_progress)
    return found


def repair(
    folder: str | Path,
    to: str | Path,
    *,
    within: float = WITHIN,
    data: str | Images | None = None,
    on_progress: Progress = silent,
) -> Repaired:
    """Write the export again into the folder `to` with the weights of guilty layers within 7 bits: those first that
    change the answers most, and as few as it takes for the score without VNNI to be at most `within` points below the
    one with.

    How many it takes is found by halving, on the images that it is told of: their number is what it is good for.
    Raises as `saturation`; InputError: a folder that cannot be written to.
    """
    to = Path(to)
    if not 0 <= within <= 100:
        raise InputError(f"The 'within' are points of top-1, from 0 to 100. Got {within:g}.")
    subject = _opened(folder, data, on_progress)
    if to.resolve() == subject.folder.resolve():
        raise InputError(f"The repaired export takes a folder of its own. Got that of the export, '{to}'.")
    require_export(to)
    require_free(to, None, "onnx")
    found, emulated = _checked(subject, on_progress)
    exact = found.score("exact")[0]
    if (lost := exact - found.score("saturating")[0]) <= within / 100:
        return Repaired(None, found, lost, True)
    names = {layer.name: layer.weight for layer in emulated.layers}
    weights = [names[layer.name] for layer in found.layers]

    def loss(count: int) -> float:
        with temporary_folder() as folder:
            keep_in_seven_bits(subject.path, tried := folder / subject.path.name, weights[:count])
            right = subject.outcomes(
                Emulated(tried, all_threads()).saturating(), f"{count} layers at 7 bits", on_progress
            )
        return exact - float(right.mean())

    count = _fewest(loss, len(weights), within / 100)
    to.mkdir(parents=True, exist_ok=True)
    keep_in_seven_bits(subject.path, target := to / subject.path.name, weights[:count])
    again = _written(subject, to, target, on_progress)
    lost = exact - again.score("saturating")[0]
    return Repaired(to, again, lost, lost <= within / 100)


def _fewest(loss: Callable[[int], float], most: int, within: float) -> int:
    """The least number of layers, in 1 to `most`, whose loss is `within` limits, found by halving as if it fell with
    their number; where none that is tried is, the one of least loss: rounding more layers costs something too."""
    tried: dict[int, float] = {}
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        tried[middle] = loss(middle)
        low, high = (low, middle) if tried[middle] <= within else (middle + 1, high)
    if low not in tried:
        tried[low] = loss(low)
    return min(tried, key=lambda count: (max(tried[count], within), count))


def _opened(folder: str | Path, data: str | Images | None, on_progress: Progress) -> Subject:
    folder = Path(folder)
    told = Told.read(folder)
    if (told.format, told.precision) != ("onnx", "int8"):
        raise InputError(
            f"What saturates are int8 files of ONNX Runtime. The export in '{folder}' is {told.precision} as "
            f"{told.format}."
        )
    path = require_file(folder, told)
    images = images_of(told, data, on_progress)
    if images is None or (images.labels < 0).any():
        raise InputError(f"The export in '{folder}' is scored on labelled images: name them with --data (data=...).")
    named = data if isinstance(data, str) else told.images.source if told.images and data is None else None
    return Subject(folder, told, path, images, named)


def _checked(subject: Subject, on_progress: Progress) -> tuple[Saturation, Emulated]:
    """What is found of the export, written down beside it."""
    emulated = Emulated(subject.path, all_threads())
    given, expected = torch.from_numpy(noise(subject.told.preprocessing)), np.asarray(subject.told.logits, np.float32)
    ways = emulated.exact, emulated.saturating()  # whichever its CPU was of
    if (off := min(apart(way(given).numpy(), expected) for way in ways)) > SAME_LOGITS:
        raise RunFailed(
            f"The emulation of '{subject.path}' gives logits that are {off:.2g} of their spread away from those that "
            "the export wrote down: what it says of CPUs without VNNI cannot be trusted."
        )
    found = _both_ways(subject, subject.path, emulated, on_progress)
    _write(subject.folder, found)
    return found, emulated


def _both_ways(subject: Subject, path: Path, emulated: Emulated, on_progress: Progress) -> Saturation:
    losses: dict[str, Losses] = {}
    exact = subject.outcomes(emulated.exact, "with VNNI", on_progress)
    saturating = subject.outcomes(emulated.saturating(losses), "without VNNI", on_progress)
    guilty = {name: each for name, each in losses.items() if each.pairs}
    answers = _answers_alone(subject, emulated, list(guilty), on_progress)
    layers = [LayerLoss(name=n, pairs=each.pairs, share=each.share, answers=answers[n]) for n, each in guilty.items()]
    return Saturation.of_outcomes(
        exact, saturating, sha256=file_sha256(path), source=subject.source, digest=subject.images.digest,
        layers=tuple(sorted(layers, key=lambda layer: (-layer.answers, -layer.share))),
        of=len(emulated.layers), seven_bits=tuple(layer.name for layer in emulated.layers if layer.in_seven_bits),
    )  # fmt: skip


def _answers_alone(subject: Subject, emulated: Emulated, names: list[str], on_progress: Progress) -> dict[str, float]:
    """By how much each layer alone changes the logits of the first images where it saturates, as `LayerLoss` has it."""
    prepared, found = subject.told.preprocessing, {}
    shown: list[torch.Tensor] = []
    for batch, _ in subject.images.batches(prepared, batch_size=batch_size(prepared)):
        shown.append(batch)
        if sum(map(len, shown)) >= ALONE:
            break
    exact = torch.cat([emulated.exact(batch) for batch in shown])
    spread = (exact - exact.mean(0)).square().mean()
    for done, name in enumerate(names, start=1):
        alone = emulated.saturating(only=name)
        off = (torch.cat([alone(batch) for batch in shown]) - exact).square().mean()
        found[name] = math.sqrt(off / max(float(spread), torch.finfo(torch.float32).tiny))
        on_progress("each layer alone", done, len(names))
    return found


def _written(subject: Subject, to: Path, target: Path, on_progress: Progress) -> Saturation:
    """The repaired file as an export: run in a new process, scored, and told of."""
    told, seen = subject.told, subject.told.images
    predict, emulated = session_predict(target, all_threads()), Emulated(target, all_threads())
    kept = [layer.name for layer in emulated.layers if layer.in_seven_bits]
    note = f"The weights of {len(kept)} layers are within 7 bits, for CPUs without VNNI: {', '.join(kept)}."
    details = {"lowest_onnxruntime": versions_of(onnx.load(target))["lowest_onnxruntime"]}
    artefact = Artefact(target, target.stat().st_size, predict, details, (note,))
    made = Made(artefact, told.model, told.precision, told.preprocessing, told.params, told.macs, told.settings)
    same = seen is not None and seen.digest == subject.images.digest
    source = Source(subject.images, subject.source, seen.samples if seen and same else None,
                    seen.seed if seen and same else 0)  # fmt: skip
    finish(to, made, source, on_progress=on_progress)
    found = _both_ways(subject, target, emulated, on_progress)
    _write(to, found)
    return found


def _write(folder: Path, found: Saturation) -> None:
    write_atomically(folder / NAME, found.to_json())
    tell_saturation(folder, found)
