"""Images by name, as tensors, or as any iterable of batches."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tdq_core.data.images import Images
from tdq_core.data.refs import parse_ref
from tdq_core.data.sources import open_images
from tdq_core.data.tensors import from_batches, from_tensors
from tdq_core.errors import InputError
from tdq_core.system.progress import Progress, silent

Source = str | Tensor | tuple[Tensor, Tensor] | Iterable[object]
"""A name ('digits', 'cifar10[:ROOT]', 'imagenet:ROOT', 'folder:DIR'), images (N, C, H, W) or (images, labels), or an
iterable of such batches. Float images are taken as the network takes them; uint8 ones are resized and normalised."""


@dataclass(frozen=True)
class ImagePair:
    """Images to measure on, and images to calibrate on (None: none were given).

    Attributes:
        source, calib_source: their names, for commands; None: they were given in Python.
        samples, calib_samples, seed: how subsets were drawn.
    """

    eval: Images
    calib: Images | None
    source: str | None = None
    calib_source: str | None = None
    samples: int | None = None
    calib_samples: int = 512
    seed: int = 0

    def __len__(self) -> int:
        return len(self.eval)


def images(
    source: Source,
    *,
    calib: Source | None = None,
    samples: int | None = None,
    calib_samples: int = 512,
    seed: int = 0,
    on_progress: Progress = silent,
) -> ImagePair:
    """Images to measure on, with those to calibrate on.

    Args:
        source: see `Source`.
        calib: the same, labels are not read; None: the source's own calibration split, where it is named and has one.
        samples: size of a seeded class-balanced subset of named images; None: all.
        calib_samples: at most this many of named calibration images.

    Raises:
        InputError: an unknown name, a missing folder, too few images, tensors whose shapes do not fit each other.
    """

    def opened(what: Source, role: str, count: int | None) -> Images:
        if isinstance(what, str):
            return open_images(what, role=role, samples=count, seed=seed, num_classes=None, on_progress=on_progress)
        return _given(what, role)

    other: Source | None = calib
    if calib is None and isinstance(source, str) and parse_ref(source).has_calibration_split:
        other = source
    return ImagePair(
        opened(source, "eval", samples),
        opened(other, "calib", calib_samples) if other is not None else None,
        source if isinstance(source, str) else None,
        calib if isinstance(calib, str) else None,
        samples,
        calib_samples,
        seed,
    )


def _given(what: Tensor | tuple[Tensor, Tensor] | Iterable[object], role: str) -> Images:
    ref = f"given in Python ({role})"
    if isinstance(what, Tensor):
        return from_tensors(what, None, ref=ref)
    if isinstance(what, tuple) and len(what) == 2:
        pictures, labels = what
        if isinstance(pictures, Tensor) and isinstance(labels, Tensor):
            return from_tensors(pictures, labels, ref=ref)
    if isinstance(what, Iterable):
        return from_batches(what, ref=ref)
    raise InputError(f"Images are a name, a tensor, (images, labels) or batches of these. Got {type(what).__name__}.")
