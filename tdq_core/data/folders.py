"""Image folders: one sub-folder a class. Files are ordered by class, then by path: the same on every machine."""

from importlib import resources
from pathlib import Path

import numpy as np

from tdq_core.data.listing import Listing
from tdq_core.data.refs import DataRef
from tdq_core.errors import InputError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"))


def imagenet_wnids() -> tuple[str, ...]:
    """The 1,000 WordNet ids in class-index order, which is their sorted order."""
    return tuple((resources.files("tdq_core.data") / "imagenet_wnids.txt").read_text().split())


def list_folder(ref: DataRef, *, num_classes: int | None) -> Listing:
    """`folder:DIR`: the classes are the sorted sub-folders, and there must be as many as the model has (None: any)."""
    root = _existing(ref)
    folders = _class_folders(root)
    if num_classes is not None and len(folders) != num_classes:
        raise InputError(
            f"The model tells {num_classes} classes apart, and '{root}' has {len(folders)} sub-folders: "
            "one a class is needed."
        )
    names = tuple(folder.name for folder in folders)
    return _list(folders, range(len(folders)), names, f"folder/{root.resolve().name}")


def list_imagenet(ref: DataRef, *, num_classes: int | None) -> Listing:
    """`imagenet:ROOT`: ROOT is the validation folder or holds it as `val/`; labels are positions in the full list."""
    root = _existing(ref)
    root = root / "val" if (root / "val").is_dir() else root
    index = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    if num_classes is not None and num_classes != len(index):
        raise InputError(
            f"ImageNet has {len(index)} classes, and the model tells {num_classes} apart: "
            "choose an ImageNet model or other images."
        )
    folders = _class_folders(root)
    if unknown := [folder.name for folder in folders if folder.name not in index]:
        raise InputError(
            f"The folders in '{root}' must be named by ImageNet's WordNet ids, as n01440764: '{unknown[0]}' is none."
        )
    return _list(folders, [index[f.name] for f in folders], tuple(index), f"imagenet/{root.resolve().name}")


def _existing(ref: DataRef) -> Path:
    assert ref.root, "the grammar demands a folder"
    if not ref.root.is_dir():
        raise InputError(f"The image folder '{ref.root}' does not exist.")
    return ref.root


def _class_folders(root: Path) -> list[Path]:
    folders = sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)
    if not folders:
        raise InputError(
            f"The image folder '{root}' has no sub-folders: images are expected in one sub-folder a class."
        )
    return folders


def _list(folders: list[Path], labels: range | list[int], names: tuple[str, ...], split: str) -> Listing:
    found = [_files(folder) for folder in folders]
    if not any(images for images, _ in found):
        raise InputError(f"There are no images ({', '.join(sorted(SUFFIXES))}) in '{folders[0].parent}'.")
    repeated = np.repeat(np.asarray(labels, dtype=np.int64), [len(images) for images, _ in found])
    empty = [folder.name for folder, (images, _) in zip(folders, found, strict=True) if not images]
    others = sum(count for _, count in found)
    notes = [f"{len(empty)} class folders hold no images, '{empty[0]}' first."] if empty else []
    notes += [f"{others} files that are not images were left out."] if others else []
    return Listing(tuple(f for images, _ in found for f in images), repeated, names, split, tuple(notes))


def _files(folder: Path) -> tuple[list[Path], int]:
    """The images of one class, sub-folders included, and the number of other files; hidden files are neither."""
    files = [p for p in folder.rglob("*") if not p.name.startswith(".") and p.is_file()]
    images = [p for p in files if p.suffix.lower() in SUFFIXES]
    return sorted(images, key=lambda p: p.relative_to(folder).as_posix()), len(files) - len(images)
