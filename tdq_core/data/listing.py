"""What a source has to offer before anything is decoded."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Picture = Path | np.ndarray
"""An image file, or uint8 pixels of shape (H, W) or (H, W, 3)."""


def short(file: Path) -> str:
    """A file in notes: with its folder, which is its class, and without those of this machine."""
    return f"{file.parent.name}/{file.name}"


@dataclass(frozen=True)
class Listing:
    """Images in a fixed order, not yet read.

    Attributes:
        pictures: files, or an array of uint8 pixels (images, H, W) or (images, H, W, 3).
        labels: int64 (images,), indices into `class_names`.
        class_names: one a class, in label order.
        split: which part of the source this is, as 'digits/test'.
        notes: what a reader must know, one sentence each.
    """

    pictures: Sequence[Picture] | np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: str
    notes: tuple[str, ...] = ()

    def take(self, indices: np.ndarray, *, notes: tuple[str, ...] = ()) -> "Listing":
        """These images, in this order; `notes` are added."""
        pictures = [self.pictures[i] for i in indices]
        return dataclasses.replace(self, pictures=pictures, labels=self.labels[indices], notes=self.notes + notes)
