"""One pass over the calibration images, in pieces of bounded size."""

from collections.abc import Iterable, Iterator, Sized

from torch import Tensor

from tdq_core.compression.quantize.artefact import Request
from tdq_core.errors import InputError
from tdq_core.system.progress import Progress


def calibration_chunks(request: Request, *, values: int, precision: str = "int8") -> Iterator[Tensor]:
    """The calibration images in pieces of at most `values` input values, with progress by batch (total 0: unknown).

    `precision` is what an error names. Pieces bound the memory of activations; min-max ranges do not depend on them.
    InputError: none were given, or the pass is empty; the first at once, the second when the pass ends.
    """
    if request.calibration is None:
        raise InputError(
            f"The precision '{precision}' needs calibration images to find the ranges of activations. "
            "Got none: name them as 'calib'."
        )
    return _chunks(request.calibration(), values, precision, request.on_progress)


def _chunks(batches: Iterable[Tensor], values: int, precision: str, on_progress: Progress) -> Iterator[Tensor]:
    total = len(batches) if isinstance(batches, Sized) else 0
    done = 0
    for batch in batches:
        yield from batch.detach().split(max(1, values // batch[0].numel()))
        done += 1
        on_progress("calibrate", done, total)
    if not done:
        raise InputError(f"The calibration data must hold at least one image for {precision}. Got none.")
