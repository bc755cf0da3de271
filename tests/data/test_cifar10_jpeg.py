"""CIFAR-10 (JPEG copy): splits that never meet, an archive that is unpacked once, sentences where it is not there."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tdq_core.data import cifar10_jpeg as source
from tdq_core.data.builtin import cache_folder
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def make(root: Path, split: str, each: int) -> None:
    for label, name in enumerate(CLASSES):
        (root / split / name).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (32, 32), (label, i, len(split))).save(root / split / name / f"{i}.png")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(source, "CIFAR10_VAL", 20)
    make(tmp_path / "images", "test", 3)
    make(tmp_path / "images", "train", 8)
    return tmp_path / "images"


def files(root: Path, role: str) -> set[str]:
    images = open_images(f"cifar10-jpeg:{root}", role=role, samples=None, seed=0, num_classes=10)
    assert images.class_names == tuple(CLASSES)
    return {f"{Path(p).parent.parent.name}/{Path(p).parent.name}/{Path(p).name}" for p in images.pictures}


def test_splits_are_disjoint_balanced_and_complete(root):
    parts = {role: files(root, role) for role in ("train", "val", "eval")}
    assert {role: len(found) for role, found in parts.items()} == {"train": 60, "val": 20, "eval": 30}
    assert len(set.union(*parts.values())) == 110
    assert files(root, "calib") == parts["train"], "calibration never sees validation or test images"
    counts = np.bincount(open_images(f"cifar10-jpeg:{root}", role="val", samples=None, seed=0, num_classes=10).labels)
    assert set(counts) == {2}


def test_splits_are_named_after_the_copy(root):
    named = [open_images(f"cifar10-jpeg:{root}", role=r, samples=10, seed=0, num_classes=10).split
             for r in ("eval", "train", "val")]  # fmt: skip
    assert named == ["cifar10-jpeg/test", "cifar10-jpeg/train", "cifar10-jpeg/val"]


def test_an_archive_is_unpacked_once_and_holds_the_same_images(root):
    before = files(root, "train")
    with tarfile.open(root / "train.tar.xz", "w:xz") as archive:
        archive.add(root / "train", "train")
    (root / "train").rename(root / "aside")
    assert files(root, "train") == before
    assert sorted(p.name for p in (cache_folder() / "cifar10-jpeg").iterdir()) == ["train"]
    (root / "train.tar.xz").write_bytes(b"")
    assert files(root, "train") == before, "what is unpacked is not unpacked again"


def test_without_a_folder_the_cache_is_looked_in(root):
    cached = cache_folder() / "cifar10-jpeg"
    cached.parent.mkdir(parents=True)
    cached.symlink_to(root)
    assert len(open_images("cifar10-jpeg", role="eval", samples=None, seed=0, num_classes=10)) == 30


def test_what_is_not_there_is_one_sentence(root, tmp_path):
    with pytest.raises(InputError, match=r"expected in '.*cifar10-jpeg'.*cifar10-jpeg:FOLDER"):
        open_images("cifar10-jpeg", role="eval", samples=None, seed=0, num_classes=10)
    (root / "train").rename(root / "aside")
    with pytest.raises(InputError, match="train' does not exist"):
        files(root, "train")
    (root / "train.tar.xz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"archive '.*train.tar.xz' cannot be unpacked"):
        files(root, "train")
