"""Pixels equal torchvision's transforms bit for bit, and a digest stands for the content."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tdq_core.data import images as images_module
from tdq_core.data.images import ImageSet
from tdq_core.data.listing import Listing
from tdq_core.errors import InputError
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.torchvision_compat import torchvision

CIFAR = Preprocessing((32, 32))
T = torchvision.transforms


def picture(seed: int, *shape: int) -> np.ndarray:
    """Smooth enough for JPEG, different everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5, *shape[2:]), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0])))


def listing(pictures: list, labels: list[int] | None = None) -> Listing:
    return Listing(pictures, np.array(labels or [0] * len(pictures), dtype=np.int64), ("a", "b"), "test/all")


def image_set(pictures: list, labels: list[int] | None = None) -> ImageSet:
    return ImageSet(listing(pictures, labels), ref="test")


def saved(tmp_path: Path, name: str, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path / name


def only_batch(images: ImageSet, preprocessing: Preprocessing) -> torch.Tensor:
    ((x, _),) = images.batches(preprocessing)
    return x


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_images_of_the_models_size_equal_to_tensor_and_normalize(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name, picture(0, 32, 32, 3))
    expected = T.Compose([T.ToTensor(), T.Normalize(CIFAR.mean, CIFAR.std)])(Image.open(path).convert("RGB"))
    assert torch.equal(only_batch(image_set([path]), CIFAR)[0], expected)


@pytest.mark.parametrize("shape", [(60, 41, 3), (41, 60, 3), (48, 48, 3), (33, 90, 3), (20, 29, 3)])
@pytest.mark.parametrize("input_size", [(32, 32), (31, 24)])
def test_resize_and_crop_equal_torchvisions(
    tmp_path: Path, shape: tuple[int, ...], input_size: tuple[int, int]
) -> None:
    path = saved(tmp_path, "a.png", picture(1, *shape))
    prepared = Preprocessing(input_size, resize=37)
    steps = [T.Resize(37), T.CenterCrop(input_size), T.ToTensor(), T.Normalize(prepared.mean, prepared.std)]
    assert torch.equal(only_batch(image_set([path]), prepared)[0], T.Compose(steps)(Image.open(path)))


def test_without_a_resize_other_sizes_are_brought_to_the_models_directly(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", picture(2, 50, 40, 3))
    steps = [T.Resize((32, 32)), T.ToTensor(), T.Normalize(CIFAR.mean, CIFAR.std)]
    assert torch.equal(only_batch(image_set([path]), CIFAR)[0], T.Compose(steps)(Image.open(path)))


def test_grey_and_colour_become_what_the_model_takes() -> None:
    grey, colour = picture(3, 8, 8), picture(4, 8, 8, 3)
    one = Preprocessing((8, 8), mean=(0.5,), std=(0.5,))
    assert only_batch(image_set([grey, colour]), one).shape == (2, 1, 8, 8)
    rgb = only_batch(image_set([grey]), Preprocessing((8, 8), mean=(0.0,) * 3, std=(1.0,) * 3))
    assert torch.equal(rgb[0, 0], rgb[0, 2]) and torch.equal(rgb[0, 1], torch.from_numpy(grey / np.float32(255)))


def test_batches_keep_the_order_and_a_second_pass_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set([np.full((8, 8), v, dtype=np.uint8) for v in range(50)], [v % 2 for v in range(50)])
    grey, steps = Preprocessing((8, 8), mean=(0.0,), std=(1.0,)), []
    first = list(images.batches(grey, batch_size=16, on_progress=lambda *step: steps.append(step)))
    assert [len(y) for _, y in first] == [16, 16, 16, 2] and steps[-1] == ("images", 50, 50)
    assert torch.cat([x for x, _ in first])[:, 0, 0, 0].mul(255).round().tolist() == list(range(50))
    monkeypatch.setattr(images_module, "decode", None)  # a second pass must not decode
    again = list(images.batches(grey, batch_size=7))
    assert torch.equal(torch.cat([x for x, _ in again]), torch.cat([x for x, _ in first]))
    assert torch.equal(torch.cat([y for _, y in again]), torch.from_numpy(images.labels))


def test_large_sets_stream_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images, grey = image_set([picture(v, 8, 8) for v in range(5)]), Preprocessing((8, 8), mean=(0.0,), std=(1.0,))
    kept = [only_batch(images, grey) for _ in range(2)]
    monkeypatch.setattr(images_module, "KEEP_BELOW_BYTES", 5 * 64 - 1)
    streaming = image_set(list(images.pictures))
    assert all(torch.equal(only_batch(streaming, grey), x) for x in kept) and streaming._kept is None


def test_another_preprocessing_is_not_served_from_memory() -> None:
    images = image_set([picture(0, 8, 8)])
    assert only_batch(images, Preprocessing((8, 8), mean=(0.0,), std=(1.0,))).shape[-1] == 8
    assert only_batch(images, Preprocessing((6, 6), mean=(0.0,), std=(1.0,))).shape[-1] == 6


def test_stopping_early_is_allowed_and_leaves_nothing_behind() -> None:
    images = image_set([picture(v, 8, 8) for v in range(9)])
    grey = Preprocessing((8, 8), mean=(0.0,), std=(1.0,))
    next(batches := images.batches(grey, batch_size=2))
    batches.close()
    assert sum(len(y) for _, y in images.batches(grey, batch_size=2)) == 9


def test_the_digest_follows_content_order_and_labels_and_nothing_else(tmp_path: Path) -> None:
    a, b = (saved(tmp_path, f"{v}.png", picture(v, 8, 8)) for v in (1, 2))
    moved = saved(tmp_path, "moved.png", picture(1, 8, 8))
    digest = image_set([a, b], [0, 1]).digest
    assert image_set([moved, b], [0, 1]).digest == digest
    assert len({digest, image_set([b, a], [0, 1]).digest, image_set([a, b], [1, 1]).digest}) == 3
    saved(tmp_path, "1.png", picture(3, 8, 8))
    assert image_set([a, b], [0, 1]).digest != digest
    pixels = [picture(v, 8, 8) for v in (1, 2)]
    assert image_set(pixels).digest == image_set(pixels).digest != image_set(pixels[::-1]).digest


def test_a_subset_is_the_set_of_its_images() -> None:
    pixels = [picture(v, 8, 8) for v in range(4)]
    part = image_set(pixels, [0, 1, 0, 1]).subset([3, 0])
    assert part.labels.tolist() == [1, 0] and part.split == "test/all" and len(part) == 2
    assert part.digest == image_set([pixels[3], pixels[0]], [1, 0]).digest


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_a_corrupt_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = saved(tmp_path, "a.jpg", picture(0, 64, 64, 3))
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(InputError, match=f"The image '{path}' cannot be read"):
        list(image_set([path]).batches(CIFAR))


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", np.full((8, 8), 60000, dtype=np.uint16))
    with pytest.raises(InputError, match="more than 8 bits"):
        list(image_set([path]).batches(CIFAR))


def test_a_crop_larger_than_the_resized_image_is_refused() -> None:
    with pytest.raises(InputError, match="must be at least its input size"):
        list(image_set([picture(0, 40, 40, 3)]).batches(Preprocessing((32, 32), resize=20)))
