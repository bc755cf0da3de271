"""Image folders: one sub-folder a class. Files are ordered by class, then by path: the same on every machine.

Links are followed. Hidden files and folders, and those that systems leave behind, are nobody's images.
"""

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from tdq_core.data.listing import Listing, short
from tdq_core.data.refs import DataRef
from tdq_core.errors import InputError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"))
LEFT_BEHIND = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"))
"""Folders of archivers and file systems; some hold pictures."""
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test", "testing", "eval"))


def imagenet_wnids() -> tuple[str, ...]:
    """The 1,000 WordNet ids in class-index order, which is their sorted order."""
    return tuple((resources.files("tdq_core.data") / "imagenet_wnids.txt").read_text().split())


def list_folder(ref: DataRef, *, num_classes: int | None) -> Listing:
    """`folder:DIR`: the classes are the sorted sub-folders, and there must be as many as the model has (None: any)."""
    root = _existing(ref)
    folders = _class_folders(root)
    names = tuple(folder.name for folder in folders)
    if num_classes is not None and _SPLITS.issuperset(names) and any(map(_folders_in, folders)):
        raise InputError(
            f"The sub-folders of '{root}' are parts of a data set, not classes: name one of them, as "
            f"folder:{root / names[-1]}."
        )
    if num_classes is not None and len(folders) != num_classes:
        raise InputError(
            f"The model tells {num_classes} classes apart, and '{root}' has {len(folders)} sub-folders: "
            "one a class is needed."
        )
    return _list(folders, range(len(folders)), names, f"folder/{root.resolve().name}", _order_notes(names))


def _order_notes(names: Sequence[str]) -> tuple[str, ...]:
    """Numbers in the order of text are easily taken for another order than the model's."""
    if all(name.isdecimal() for name in names):
        for first, second in itertools.pairwise(names):
            if int(first) > int(second):
                return (
                    "Class folders that are numbers are in the order of text, as torchvision's ImageFolder has them: "
                    f"'{first}' comes before '{second}'.",
                )
    return ()


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
    try:
        there = ref.root.stat()
    except OSError as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {error.strerror}"
        raise InputError(f"The image folder '{ref.root}' {why}.") from error
    if not stat.S_ISDIR(there.st_mode):
        raise InputError(f"The image folder '{ref.root}' is a file: a folder with one sub-folder a class is needed.")
    return ref.root


def _class_folders(root: Path) -> list[Path]:
    folders = _folders_in(root)
    if not folders:
        raise InputError(
            f"The image folder '{root}' has no sub-folders: images are expected in one sub-folder a class."
        )
    return folders


def _folders_in(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(entry.name for entry in _inside(folder) if entry.is_dir())]


def _inside(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, but what is hidden or was left behind."""
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.name not in LEFT_BEHIND]
    except OSError as error:
        raise InputError(f"The image folder '{folder}' cannot be read: {error.strerror}.") from error


def _list(
    folders: list[Path],
    labels: range | list[int],
    names: tuple[str, ...],
    split: str,
    notes: tuple[str, ...] = (),
) -> Listing:
    found = [_files(folder) for folder in folders]
    if not any(images for images, _ in found):
        raise InputError(f"There are no images ({', '.join(sorted(SUFFIXES))}) in '{folders[0].parent}'.")
    repeated = np.repeat(np.asarray(labels, dtype=np.int64), [len(images) for images, _ in found])
    empty = [folder.name for folder, (images, _) in zip(folders, found, strict=True) if not images]
    others = [path for _, rest in found for path in rest]
    if empty:
        notes += (f"{len(empty)} class folders hold no images, '{empty[0]}' first.",)
    if others:
        notes += (f"{len(others)} files that are not images were left out, '{short(others[0])}' first.",)
    return Listing(tuple(f for images, _ in found for f in images), repeated, names, split, notes)


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of one class, sub-folders included, and the other files."""
    files = sorted(_walk(folder))
    images = [folder / name for name in files if _is_image(name)]
    return images, [folder / name for name in files if not _is_image(name)]


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - of a hundred thousand names


def _walk(folder: Path, inside: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Every file below `folder`, by its path from there, links included: one that leads nowhere is told of when it is
    read."""
    here = os.path.realpath(folder / inside)
    if here in above:
        raise InputError(f"The image folder '{folder / inside}' is a link to a folder that it lies in: remove it.")
    for entry in _inside(folder / inside):
        name = f"{inside}{entry.name}"
        if entry.is_dir():
            yield from _walk(folder, f"{name}/", (*above, here))
        elif entry.is_file() or entry.is_symlink():
            yield name
