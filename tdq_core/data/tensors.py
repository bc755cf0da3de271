"""Images that are tensors already: as a model takes them, or as pixels."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tdq_core.data.images import Images, ImageSet
from tdq_core.data.listing import Listing
from tdq_core.errors import InputError
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.progress import Progress, silent

UNLABELLED = -1


class TensorImages:
    """Float images (N, C, H, W) as a model takes them: nothing is resized or normalised.

    Attributes: see `data.images.Images`; labels are -1 where there are none.
    """

    def __init__(self, images: Tensor, labels: Tensor | None, *, ref: str) -> None:
        self.images = images.detach().float().cpu().contiguous()
        whole = torch.full((len(images),), UNLABELLED) if labels is None else labels.detach().cpu()
        self.labels = whole.to(torch.int64).numpy()
        self.ref, self.split = ref, ref
        self.notes: tuple[str, ...] = ()
        content = hashlib.sha256(self.labels.astype("<i8").tobytes())
        content.update(f"{tuple(self.images.shape)}".encode() + self.images.numpy().tobytes())
        self.digest = content.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Images:
        """These images, in this order."""
        at = torch.as_tensor(np.asarray(indices))
        return TensorImages(self.images[at], torch.from_numpy(self.labels)[at], ref=self.ref)

    def batches(
        self, preprocessing: Preprocessing, *, batch_size: int = 128, on_progress: Progress = silent
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `data.images.Images`; InputError where the images are not of the model's size."""
        if tuple(self.images.shape[1:]) != preprocessing.input_shape:
            raise InputError(
                f"The images must be {preprocessing.input_shape} (channels, height, width), as the model takes them. "
                f"Got {tuple(self.images.shape[1:])}."
            )
        for start in range(0, len(self), batch_size):
            stop = start + batch_size
            yield self.images[start:stop], torch.from_numpy(self.labels[start:stop])
            on_progress("images", min(stop, len(self)), len(self))


def from_tensors(images: Tensor, labels: Tensor | None, *, ref: str) -> Images:
    """Images (N, C, H, W): float as a model takes them, or uint8 pixels that are resized and normalised for it."""
    if images.ndim != 4 or not len(images) or (labels is not None and labels.shape != (len(images),)):
        shape = None if labels is None else tuple(labels.shape)
        raise InputError(
            "Images must be a tensor (N, C, H, W) of at least one, with labels (N,). "
            f"Got {tuple(images.shape)} and {shape}."
        )
    if images.dtype != torch.uint8:
        return TensorImages(images, labels, ref=ref)
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    whole = np.full(len(images), UNLABELLED) if labels is None else labels.numpy().astype(np.int64)
    names = tuple(str(c) for c in range(int(whole.max()) + 1))
    return ImageSet(Listing(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, whole, names, ref), ref=ref)


def from_batches(batches: Iterable[object], *, ref: str) -> Images:
    """Images of any iterable of batches, a `DataLoader` say: (images, labels) each, or images alone; held in memory."""
    pairs = [_pair(batch) for batch in batches]
    if not pairs:
        raise InputError(f"The images '{ref}' must be at least one batch. Got none.")
    labels = [y for _, y in pairs if y is not None]
    return from_tensors(torch.cat([x for x, _ in pairs]), torch.cat(labels) if labels else None, ref=ref)


def _pair(batch: object) -> tuple[Tensor, Tensor | None]:
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, list | tuple) and batch and isinstance(batch[0], Tensor):
        labels = batch[1] if len(batch) > 1 else None
        if labels is None or isinstance(labels, Tensor):
            return batch[0], labels
    raise InputError(f"A batch must be a tensor of images, or (images, labels). Got {type(batch).__name__}.")
