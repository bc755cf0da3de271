"""Sources: named splits that never meet, labels that mean what the model thinks, errors of one sentence."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tdq_core.data import builtin, folders
from tdq_core.data.folders import imagenet_wnids
from tdq_core.data.images import ImageSet
from tdq_core.data.refs import DataRef, parse_ref
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.records.store import shipped_folder
from tdq_core.system.torchvision_compat import torchvision


def opened(ref: str, role: str = "eval", **changes: Any) -> ImageSet:
    return open_images(ref, **({"role": role, "samples": None, "seed": 0, "num_classes": 10} | changes))


def make_folder(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (8, 8), i).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize(
    "text, expected",
    [
        ("digits", DataRef("digits")),
        ("cifar10", DataRef("cifar10")),
        ("cifar10:a/b", DataRef("cifar10", Path("a/b"))),
        ("imagenet:/x:y", DataRef("imagenet", Path("/x:y"))),
        ("folder:c", DataRef("folder", Path("c"))),
    ],
)
def test_a_reference_is_parsed_and_printed_back(text: str, expected: DataRef) -> None:
    assert parse_ref(text) == expected and str(expected) == text


@pytest.mark.parametrize("text", ["", "mnist", "digits:x", "folder", "folder:", "imagenet", "cifar10:"])
def test_a_wrong_reference_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match=f"Got '{text}'"):
        parse_ref(text)


def test_digits_splits_are_disjoint_stratified_and_complete() -> None:
    sizes = {"train": 1000, "val": 97, "eval": 700}
    sets = {role: opened("digits", role) for role in sizes}
    assert {role: len(s) for role, s in sets.items()} == sizes
    assert [s.split for s in sets.values()] == ["digits/train", "digits/val", "digits/test"]
    labels = np.concatenate([s.labels for s in sets.values()])
    with np.load(builtin.DIGITS_FILE) as file:
        whole, all_labels = np.rint(file["images"] * (255 / 16)).astype(np.uint8), file["labels"]
    assert whole.shape == (1797, 8, 8) and whole.max() == 255
    assert np.array_equal(np.bincount(labels), np.bincount(all_labels)), "every image is in exactly one split"
    pixels = sorted(p.tobytes() for s in sets.values() for p in s.pictures)
    assert pixels == sorted(p.tobytes() for p in whole)
    assert all(np.ptp(np.bincount(s.labels)) <= 1 for role, s in sets.items() if role != "train")


@pytest.mark.parametrize("role, digest", [("train", "97da06535aacf622"), ("val", "95128602b2833643")])
def test_the_digits_are_trained_and_validated_on_what_they_were(role: str, digest: str) -> None:
    assert opened("digits", role).digest.startswith(digest), "as scikit-learn 1.9.1 gives them"


def test_the_digits_are_those_that_the_shipped_runs_saw() -> None:
    seen = set()
    for path in shipped_folder().glob("*.json"):
        record = json.loads(path.read_text())
        spec, digests = record["spec"], record["digests"]
        if spec["data"] == "digits":
            seen.add(("eval", spec["samples"], spec["seed"], digests["data"]))
        if spec["data"] == "digits" and "calib" in digests:
            seen.add(("calib", spec["calib_samples"], spec["seed"], digests["calib"]))
    assert {role for role, *_ in seen} == {"eval", "calib"}
    for role, samples, seed, digest in seen:
        assert opened("digits", role, samples=samples, seed=seed).digest == digest


def test_calibration_images_are_training_images_and_never_more_than_there_are() -> None:
    training = {p.tobytes() for p in opened("digits", "train").pictures}
    calib = opened("digits", "calib", samples=200)
    assert calib.split == "digits/train" and len(calib) == 200
    assert {p.tobytes() for p in calib.pictures} <= training
    assert len(opened("digits", "calib", samples=5000)) == 1000


def test_samples_are_seeded_and_balanced() -> None:
    first, again, other = (opened("digits", samples=100, seed=seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert np.bincount(first.labels).tolist() == [10] * 10
    with pytest.raises(InputError, match="There are 700 images"):
        opened("digits", samples=701)


def test_folder_classes_are_the_sorted_sub_folders_and_files_are_in_order(tmp_path: Path) -> None:
    make_folder(tmp_path, {"b": 2, "a": 1, ".hidden": 1})
    (tmp_path / "a" / "README.txt").write_text("text")
    (tmp_path / "a" / ".DS_Store").write_text("hidden")
    images = opened(f"folder:{tmp_path}", num_classes=2)
    assert images.class_names == ("a", "b") and images.labels.tolist() == [0, 1, 1]
    assert [p.relative_to(tmp_path).as_posix() for p in images.pictures] == ["a/0.png", "b/0.png", "b/1.png"]
    assert images.split == f"folder/{tmp_path.name}" and len(images.notes) == 1
    assert images.notes == ("1 files that are not images were left out, 'a/README.txt' first.",)


def test_a_class_with_few_images_is_told_of(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a": 1, "b": 9, "c": 9, "d": 0})
    images = opened(f"folder:{tmp_path}", num_classes=4, samples=9)
    assert np.bincount(images.labels).tolist() == [1, 4, 4]
    assert "1 class folders hold no images, 'd' first." in images.notes
    assert any("1 of 3 classes have too few images" in note for note in images.notes)


@pytest.mark.parametrize(
    "counts, num_classes, says",
    [
        ({}, 2, "has no sub-folders"),
        ({"a": 0, "b": 0}, 2, "There are no images"),
        ({"a": 1, "b": 1, "c": 1}, 2, "tells 2 classes apart, and '.*' has 3 sub-folders"),
    ],
)
def test_a_folder_that_does_not_fit(tmp_path: Path, counts: dict[str, int], num_classes: int, says: str) -> None:
    make_folder(tmp_path, counts)
    with pytest.raises(InputError, match=says):
        opened(f"folder:{tmp_path}", num_classes=num_classes)


@pytest.mark.parametrize("kind", ["folder", "imagenet"])
def test_a_missing_folder_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match="nowhere' does not exist"):
        opened(f"{kind}:{tmp_path}/nowhere", num_classes=1000)


def test_sources_with_other_classes_than_the_models(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'digits' have 10 classes, and the model tells 1000 apart"):
        opened("digits", num_classes=1000)
    with pytest.raises(InputError, match="ImageNet has 1000 classes, and the model tells 10 apart"):
        opened(f"imagenet:{tmp_path}")


def test_the_wnids_are_the_thousand_in_order() -> None:
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000 and list(wnids) == sorted(wnids)
    categories = torchvision.models.get_weight("ResNet18_Weights.IMAGENET1K_V1").meta["categories"]
    for wnid, name in (("n01440764", "tench"), ("n02123159", "tiger cat"), ("n15075141", "toilet tissue")):
        assert categories[wnids.index(wnid)] == name


@pytest.mark.parametrize("inside_val", [True, False])
def test_a_partial_imagenet_folder_gets_the_labels_of_the_full_list(tmp_path: Path, inside_val: bool) -> None:
    make_folder(tmp_path / "val", {"n02123159": 1, "n15075141": 2})
    images = opened(f"imagenet:{tmp_path / 'val' if not inside_val else tmp_path}", num_classes=1000)
    assert images.labels.tolist() == [282, 999, 999] and images.split == "imagenet/val"
    assert len(images.class_names) == 1000


def test_a_folder_that_is_no_wnid_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, {"n02123159": 1, "cats": 1})
    with pytest.raises(InputError, match="'cats' is none"):
        opened(f"imagenet:{tmp_path}", num_classes=1000)


def test_the_imagenet_sample_has_one_image_for_every_second_class(shared: Path) -> None:
    images = opened(f"imagenet:{shared}/imagenet-sample", num_classes=1000)
    assert images.labels.tolist() == list(range(0, 1000, 2))
    assert (shared / "imagenet-sample" / "wnids.txt").read_text().split() == list(imagenet_wnids())


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's own file format, with 50 + 20 made-up images and checksums to match."""
    dataset, rng = torchvision.datasets.CIFAR10, np.random.default_rng(0)
    folder = tmp_path / dataset.base_folder
    folder.mkdir()

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, torchvision.datasets.utils.calculate_md5(folder / name)]

    def batch(n: int) -> dict[str, Any]:
        return {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(n)]}

    monkeypatch.setattr(dataset, "train_list", [write(f"data_batch_{i}", batch(10)) for i in range(1, 6)])
    monkeypatch.setattr(dataset, "test_list", [write("test_batch", batch(20))])
    name, md5 = write("batches.meta", {"label_names": [f"class{i}" for i in range(10)]})
    monkeypatch.setattr(dataset, "meta", {"filename": name, "key": "label_names", "md5": md5})
    monkeypatch.setattr(builtin, "CIFAR10_VAL", 10)
    return tmp_path


def test_cifar10_splits_are_disjoint(small_cifar10: Path) -> None:
    sets = {role: opened(f"cifar10:{small_cifar10}", role) for role in ("eval", "train", "val", "calib")}
    assert {r: (s.split, len(s)) for r, s in sets.items()} == {
        "eval": ("cifar10/test", 20),
        "train": ("cifar10/train", 40),
        "val": ("cifar10/val", 10),
        "calib": ("cifar10/train", 40),
    }
    held, train = ({p.tobytes() for p in sets[role].pictures} for role in ("val", "train"))
    assert not held & train and np.bincount(sets["val"].labels).tolist() == [1] * 10


def test_damaged_cifar10_is_one_sentence(small_cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next((small_cifar10 / torchvision.datasets.CIFAR10.base_folder).glob("test_batch")).write_bytes(b"?")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(InputError, match="incomplete or damaged"):
        opened(f"cifar10:{small_cifar10}")


def test_cifar10_offline_names_the_file_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz.*cannot be reached.*folder:DIR"):
        opened(f"cifar10:{tmp_path}")


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InputError, match="'role' of images"):
        opened("digits", "training")


def test_reading_five_thousand_small_files_is_quick(shared: Path) -> None:
    import time

    listing = folders.list_folder(parse_ref(f"folder:{shared}/cifar10-jpeg/test"), num_classes=10)
    started = time.perf_counter()
    ImageSet(listing, ref="test")
    assert time.perf_counter() - started < 5, "aimed at under 1 s on a quiet machine"


def test_calibration_images_may_be_of_other_classes(tmp_path: Path) -> None:
    make_folder(tmp_path, {"holiday": 3})
    assert len(opened(f"folder:{tmp_path}", "calib", num_classes=1000)) == 3
    assert len(opened("digits", "calib", num_classes=1000, samples=5)) == 5
    (tmp_path / "n01440764").mkdir()
    (tmp_path / "holiday" / "0.png").rename(tmp_path / "n01440764" / "0.png")
    for picture in (tmp_path / "holiday").iterdir():
        picture.unlink()
    (tmp_path / "holiday").rmdir()
    assert len(opened(f"imagenet:{tmp_path}", "calib", num_classes=10)) == 1
