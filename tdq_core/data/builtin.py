"""Image sources with splits of their own: the scanned digits that come with TDQ, and CIFAR-10."""

import os
from pathlib import Path

import numpy as np

from tdq_core.data.listing import Listing
from tdq_core.data.refs import DataRef
from tdq_core.data.subsets import balanced_indices
from tdq_core.errors import InputError
from tdq_core.system.progress import Progress

DIGITS_FILE = Path(__file__).with_name("digits.npz")
"""`images` uint8 (1797, 8, 8), levels 0-16, and `labels` uint8 (1797,), in the order of the source."""
DIGITS_VAL, DIGITS_TEST = 97, 700
CIFAR10_VAL = 5000
_SPLIT_SEED = 0  # the splits are part of the data's definition, not of a run


def digits(split: str) -> Listing:
    """1,797 scanned digits, 8x8 grey, in fixed stratified splits; `digits.md` beside this file tells where from.

    Their 17 grey levels (0-16) are scaled to 8 bits, so that they are read as all other images are.

    Args:
        split: 'train' (1,000 images), 'val' (97) or 'test' (700).
    """
    with np.load(DIGITS_FILE) as file:
        levels, labels = file["images"], file["labels"].astype(np.int64)
    test, _ = balanced_indices(labels, DIGITS_TEST, seed=_SPLIT_SEED)
    rest = np.setdiff1d(np.arange(len(labels)), test)
    train, val = held_out(labels, DIGITS_VAL, of=rest)
    chosen = {"train": train, "val": val, "test": test}[split]
    pixels = np.rint(levels * (255 / 16)).astype(np.uint8)
    return Listing(pixels, labels, tuple(str(d) for d in range(10)), f"digits/{split}").take(chosen)


def cifar10(ref: DataRef, split: str, *, on_progress: Progress) -> Listing:
    """CIFAR-10 through torchvision, downloaded once into its folder.

    Args:
        split: 'test' (10,000 images), 'train' (45,000) or 'val' (5,000 of the 50,000 training images, 500 a class).
    """
    from tdq_core.system.download import fetch
    from tdq_core.system.torchvision_compat import torchvision  # slow to import, and needed here only

    dataset = torchvision.datasets.CIFAR10
    root = ref.root or cache_folder() / "cifar10"
    if not (root / dataset.base_folder).is_dir():
        way_out = f"put the file or the unpacked {dataset.base_folder} there, or use folder:DIR with images of your own"
        fetch(dataset.url, root / dataset.filename, sha256="", way_out=way_out, on_progress=on_progress)
    try:
        data = dataset(str(root), train=split != "test", download=True)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        raise InputError(
            f"CIFAR-10 in '{root}' is incomplete or damaged ({error}): move it away to fetch it again."
        ) from error
    labels = np.asarray(data.targets, dtype=np.int64)
    listing = Listing(data.data, labels, tuple(data.classes), f"cifar10/{split}")
    if split == "test":
        return listing
    train, val = held_out(labels, CIFAR10_VAL)
    return listing.take(val if split == "val" else train)


def held_out(labels: np.ndarray, n: int, *, of: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(train, val) as indices: `n` of the images `of` (None: of all), balanced, are held out."""
    rest = np.arange(len(labels)) if of is None else of
    val = rest[balanced_indices(labels[rest], n, seed=_SPLIT_SEED)[0]]
    return np.setdiff1d(rest, val), val


def cache_folder() -> Path:
    """Where downloaded images are kept: `$XDG_CACHE_HOME/tdq`, or `~/.cache/tdq`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdq"
