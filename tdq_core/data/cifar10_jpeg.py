"""CIFAR-10 re-encoded as JPEG, in image folders: close to the original, and not it."""

import dataclasses
import tarfile
from pathlib import Path

from tdq_core.data.builtin import CIFAR10_VAL, cache_folder, held_out
from tdq_core.data.folders import list_folder
from tdq_core.data.listing import Listing
from tdq_core.data.refs import DataRef
from tdq_core.errors import InputError

NAME = "cifar10-jpeg"
_ARCHIVE = "train.tar.xz"


def cifar10_jpeg(ref: DataRef, split: str) -> Listing:
    """A folder with `test/<class>/` and `train/<class>/` (or `train.tar.xz`, unpacked once into the cache folder).

    Scores on it are not comparable with those on the original CIFAR-10: lossy images are harder.

    Args:
        split: 'test' (all of test/), 'val' (5,000 images of train/, 500 a class) or 'train' (the others).
    """
    root = ref.root or cache_folder() / NAME
    if not root.is_dir():
        raise InputError(
            f"The images '{NAME}' are expected in '{root}', as test/<class>/ and train/<class>/, and that folder does "
            f"not exist: put them there, or name their folder as {NAME}:FOLDER. They are not downloaded."
        )
    if split == "test":
        return _part(root / "test", "test")
    whole = _part(_train_folder(root), "train")
    train, val = held_out(whole.labels, CIFAR10_VAL)
    return dataclasses.replace(whole.take(val if split == "val" else train), split=f"{NAME}/{split}")


def _part(folder: Path, split: str) -> Listing:
    return dataclasses.replace(list_folder(DataRef("folder", folder), num_classes=10), split=f"{NAME}/{split}")


def _train_folder(root: Path) -> Path:
    """`train/` beside the test images, or the archive's, unpacked under a temporary name and renamed when whole."""
    if (root / "train").is_dir() or not (root / _ARCHIVE).is_file():
        return root / "train"
    unpacked = cache_folder() / NAME / "train"
    if not unpacked.is_dir():
        fresh = unpacked.with_name(".unpacking")
        try:
            with tarfile.open(root / _ARCHIVE) as archive:
                archive.extractall(fresh, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(f"The archive '{root / _ARCHIVE}' cannot be unpacked: {error}.") from error
        (fresh / "train").rename(unpacked)
        fresh.rmdir()
    return unpacked
