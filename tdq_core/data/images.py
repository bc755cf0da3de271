"""Ordered labelled images, whatever they come from: a digest of their content, and batches for a model."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tdq_core.data.decoding import ON_WHITE, TURNED, decode, normalise, peculiarities
from tdq_core.data.listing import Listing, Picture, short
from tdq_core.errors import InputError
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.progress import Progress, silent

KEEP_BELOW_BYTES = 512 << 20
"""Decoded pixels of sets up to this size stay in memory, so that a second pass need not decode again."""

_THREADS = min(8, os.cpu_count() or 1)
_CHUNK = 64


PIXELS_A_BATCH = 128 * 32 * 32
"""Batches hold about this many pixels a channel: enough to keep the cores busy, little enough for any memory."""


def batch_size(preprocessing: Preprocessing) -> int:
    """Images a batch at this input size: 128 at 32 px and below, fewer above, never below 8."""
    height, width = preprocessing.input_size
    return max(8, min(128, PIXELS_A_BATCH // (height * width) or 8))


class Images(Protocol):
    """Labelled images in a fixed order, whatever they come from.

    Attributes:
        labels: int64 (images,); ref: what was asked for; split: which part of it this is; notes: what a reader must
            know, one sentence each; digest: SHA-256 of labels and contents in order.
    """

    labels: np.ndarray
    ref: str
    split: str
    notes: tuple[str, ...]
    digest: str

    def __len__(self) -> int: ...

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Images":
        """These images, in this order, as a set of their own."""
        ...

    def batches(
        self, preprocessing: Preprocessing, *, batch_size: int = 128, on_progress: Progress = silent
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 (N, C, H, W), labels int64 (N,)) in order; the last batch may be smaller."""
        ...


class ImageSet:
    """Images in a fixed order with their labels.

    Attributes:
        pictures: files, or uint8 pixels (H, W) or (H, W, 3).
        labels: int64 (images,), indices into `class_names`.
        class_names: one a class, in label order.
        ref: what was asked for, as 'folder:DIR'.
        split: which part of it this is, as 'digits/test'.
        notes: what a reader must know, one sentence each.
        digest: SHA-256 over the labels and the contents (file bytes, or pixels) in order; of files that are turned or
            laid on white, that too.

    Raises:
        InputError: names a file that is missing or no image, see `decoding.peculiarities`.
    """

    def __init__(self, listing: Listing, *, ref: str, on_progress: Progress = silent) -> None:
        pictures, labels = listing.pictures, listing.labels
        if len(pictures) != len(labels) or not len(labels):
            raise InputError(
                f"The images '{ref}' must be at least one. Got {len(pictures)}, with {len(labels)} labels."
            )
        self._listing = listing
        self.pictures, self.labels, self.class_names = pictures, labels, listing.class_names
        self.ref, self.split = ref, listing.split
        self.digest, notes = _digest(pictures, labels, on_progress)
        self.notes = (*listing.notes, *notes)
        self._kept: tuple[tuple[object, ...], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ImageSet":
        """These images, in this order, as a set of their own with its own digest."""
        return ImageSet(self._listing.take(np.asarray(indices, dtype=np.int64)), ref=self.ref)

    def batches(
        self, preprocessing: Preprocessing, *, batch_size: int = 128, on_progress: Progress = silent
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 (N, C, H, W), labels int64 (N,)) in order; the last batch may be smaller.

        Raises:
            InputError: names an image that cannot be read.
        """
        labels, done = torch.from_numpy(self.labels), 0
        for pixels in self._pixels(preprocessing, batch_size):
            yield normalise(pixels, preprocessing), labels[done : done + len(pixels)]
            done += len(pixels)
            on_progress("images", done, len(self))

    def _pixels(self, preprocessing: Preprocessing, batch_size: int) -> Iterator[Tensor]:
        """uint8 (N, C, H, W) batches, from memory where an earlier pass left them there."""
        geometry = (preprocessing.input_size, preprocessing.resize, preprocessing.channels)
        if self._kept and self._kept[0] == geometry:
            yield from self._kept[1].split(batch_size)
            return
        keep = len(self) * int(np.prod(preprocessing.input_shape)) <= KEEP_BELOW_BYTES
        seen: list[Tensor] = []
        for pixels in self._decoded(preprocessing, batch_size):
            seen += [pixels] if keep else []
            yield pixels
        if keep:
            self._kept = geometry, torch.cat(seen)

    def _decoded(self, preprocessing: Preprocessing, batch_size: int) -> Iterator[Tensor]:
        """Decode batch by batch; threads work on the next batch while this one is in use."""
        read = partial(decode, preprocessing=preprocessing)
        slices = [self.pictures[i : i + batch_size] for i in range(0, len(self), batch_size)]
        pool = ThreadPoolExecutor(_THREADS)
        try:
            coming = pool.map(read, slices[0])
            for following in [*slices[1:], ()]:
                current, coming = coming, pool.map(read, following)
                yield torch.from_numpy(np.stack(list(current))).permute(0, 3, 1, 2).contiguous()
        finally:
            pool.shutdown(cancel_futures=True)  # the reader may stop early, or an image be damaged


def _digest(
    pictures: Sequence[Picture] | np.ndarray, labels: np.ndarray, on_progress: Progress
) -> tuple[str, tuple[str, ...]]:
    """Of labels and contents; and a note for everything that is done to some of the files."""
    total = hashlib.sha256(labels.astype("<i8").tobytes())
    found: dict[str, list[Path]] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(pictures), _CHUNK):
            some = pictures[start : start + _CHUNK]
            for picture, (digest, done) in zip(some, pool.map(_content, some), strict=True):
                total.update(digest)
                for what in done:
                    found.setdefault(what, []).append(Path(picture))
            on_progress("read images", min(start + _CHUNK, len(pictures)), len(pictures))
    told = sorted(found.items())
    return total.hexdigest(), tuple(f"Images {what}: {len(of)}, '{short(of[0])}' first." for what, of in told)


def _content(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    """SHA-256, and what is done to the image: part of its content where older versions did it differently."""
    if isinstance(picture, np.ndarray):
        return hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).digest(), ()
    try:
        content = picture.read_bytes()
    except OSError as error:
        raise InputError(f"The image '{picture}' cannot be read: {error.strerror}.") from error
    done = peculiarities(picture, content)
    seen = "".join(what for what in done if what in (TURNED, ON_WHITE))
    return hashlib.sha256(content + seen.encode()).digest(), done
