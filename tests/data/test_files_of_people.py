"""Image files and folders as people have them: read as a viewer shows them, or refused in a sentence that names one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tdq_core.data import decoding
from tdq_core.data.images import ImageSet
from tdq_core.data.listing import Listing
from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.specs.preprocessing import Preprocessing

COLOUR = Preprocessing((6, 6), mean=(0.0,) * 3, std=(1.0,) * 3)
GREY = Preprocessing((6, 6), mean=(0.0,), std=(1.0,))
ORIENTATION = 274
UPRIGHT = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)


def read(*files: Path, as_grey: bool = False) -> tuple[np.ndarray, ImageSet]:
    """Pixels (images, 6, 6, C) as the model gets them, in levels, and the set."""
    images = ImageSet(Listing(files, np.zeros(len(files), dtype=np.int64), ("one",), "test"), ref="test")
    (batch, _) = next(iter(images.batches(GREY if as_grey else COLOUR)))
    return torch.round(255 * batch).to(torch.uint8).permute(0, 2, 3, 1).numpy(), images


def opened(folder: Path, classes: int | None = 2) -> ImageSet:
    return open_images(f"folder:{folder}", role="eval", samples=None, seed=0, num_classes=classes)


def picture(folder: Path, name: str = "x.png", level: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (level, 0, 0)).save(folder / name)
    return folder / name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_orientation_says(tmp_path: Path, orientation: int) -> None:
    """Stored by the eight transformations that the EXIF standard lists, each undone by hand."""
    stored = {
        1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1], 5: UPRIGHT.swapaxes(0, 1),
        6: np.rot90(UPRIGHT), 7: UPRIGHT[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(UPRIGHT, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    pixels, images = read(tmp_path / "a.png")
    assert np.array_equal(pixels[0], UPRIGHT)
    assert bool(images.notes) == (orientation != 1) and all("turned" in n and "a.png" in n for n in images.notes)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("as_grey", [False, True])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str, as_grey: bool) -> None:
    """The hidden colour is black, as editors leave it."""
    whole = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    whole.paste((10, 10, 10, 255), (0, 0, 3, 6))
    if mode == "P":
        flat = Image.new("P", (6, 6), 1)
        flat.putpalette([10, 10, 10, 0, 0, 0])
        flat.paste(0, (0, 0, 3, 6))
        flat.save(tmp_path / "a.png", transparency=1)
    else:
        whole.convert(mode).save(tmp_path / "a.png")
    pixels, images = read(tmp_path / "a.png", as_grey=as_grey)
    assert (pixels[0, :, :3] == 10).all() and (pixels[0, :, 3:] == 255).all()
    assert len(images.notes) == 1 and "white" in images.notes[0]


def save_animated(path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), (40 * i, 40 * i, 40 * i)) for i in range(1, 4)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    save_animated(tmp_path / f"a.{suffix}")
    pixels, images = read(tmp_path / f"a.{suffix}")
    assert np.abs(pixels.astype(int) - 40).max() <= 2 and "first of several frames" in images.notes[0]


@pytest.mark.parametrize("mode, suffix", [("CMYK", "jpg"), ("CMYK", "tif"), ("1", "png"), ("P", "gif"), ("L", "jpg"),
                                          ("YCbCr", "jpg"), ("P", "bmp")])  # fmt: skip
def test_every_usual_mode_is_read_by_grey_and_by_colour_models(tmp_path: Path, mode: str, suffix: str) -> None:
    Image.new("RGB", (6, 6), "white").convert(mode).save(tmp_path / f"a.{suffix}")
    for as_grey in (False, True):
        pixels, images = read(tmp_path / f"a.{suffix}", as_grey=as_grey)
        assert pixels.min() >= 253 and pixels.shape[-1] == (1 if as_grey else 3)
    assert bool(images.notes) == (mode == "CMYK")


def test_plain_files_have_the_digest_that_they_always_had(tmp_path: Path) -> None:
    """Only what is read in another way than by older versions is another content."""
    plain, clear = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (6, 6)).save(plain)
    Image.new("RGBA", (6, 6)).save(clear)
    import hashlib

    def of(path: Path) -> str:
        labels = np.zeros(1, dtype="<i8").tobytes()
        return hashlib.sha256(labels + hashlib.sha256(path.read_bytes()).digest()).hexdigest()

    assert read(plain)[1].digest == of(plain) and read(clear)[1].digest != of(clear)


BROKEN: dict[str, Callable[[Path], Any]] = {
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("no image"),
    "head alone": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    "sixteen bits": lambda p: Image.fromarray(np.full((6, 6), 60000, dtype=np.uint16)).save(p),
    "float": lambda p: Image.new("F", (6, 6)).save(p, format="TIFF"),
    "lab": lambda p: Image.new("LAB", (6, 6)).save(p, format="TIFF"),
    "too large": lambda p: Image.new("1", (20_000, 20_000)).save(p),
    "link to nowhere": lambda p: p.symlink_to("nowhere.png"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_what_cannot_be_read_is_named_when_it_is_opened(tmp_path: Path, way: str) -> None:
    picture(tmp_path / "a")
    picture(tmp_path / "b")
    BROKEN[way](tmp_path / "b" / "the one.png")
    with pytest.raises(InputError, match=r"the one\.png") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_whatever_a_decoder_raises_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise IndexError("list index\nout of range")

    file = picture(tmp_path)
    monkeypatch.setattr(decoding, "_as_seen", fail)
    with pytest.raises(InputError, match=r"x\.png' cannot be read: list index out of range"):
        read(file)


def test_links_and_nested_folders_are_read_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    real, root = tmp_path / "real", tmp_path / "root"
    picture(real / "deep" / "er", "3.png")
    (root / "a").mkdir(parents=True)
    (root / "a" / "linked.png").symlink_to(picture(tmp_path, "1.png"))
    (root / "a" / "folder").symlink_to(real)
    (root / "b").symlink_to(real)
    for hidden in (".cache", "__MACOSX", "a/.checkpoints", "a/__MACOSX", "@eaDir"):
        picture(root / hidden)
    names = [p.relative_to(root).as_posix() for p in opened(root).pictures]
    assert names == ["a/folder/deep/er/3.png", "a/linked.png", "b/deep/er/3.png"]


def test_a_link_to_a_folder_above_is_a_sentence(tmp_path: Path) -> None:
    picture(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="again' is a link"):
        opened(tmp_path, 1)


@pytest.mark.parametrize(
    "name", ["ü ñ.png", "[i] :fire: $a$.png", "new\nline.png", "\udcff.png", "-x.png", "x" * 240 + ".png"]
)
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name.removesuffix(".png"), name, 9)
    picture(tmp_path / "z", level=9)
    assert len(opened(tmp_path)) == 2


def test_folders_that_are_numbers_tell_their_order(tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        picture(tmp_path / name)
    images = opened(tmp_path, 3)
    assert images.class_names == ("1", "10", "2") and "'10' comes before '2'" in images.notes[0]
    (tmp_path / "10").rename(tmp_path / "3")
    assert opened(tmp_path, 3).notes == ()


def test_parts_of_a_data_set_are_not_taken_for_classes(tmp_path: Path) -> None:
    for part in ("train", "val"):
        picture(tmp_path / part / "cat")
        picture(tmp_path / part / "dog")
    with pytest.raises(InputError, match=r"parts of a data set.*/val"):
        opened(tmp_path)
    assert opened(tmp_path / "val").class_names == ("cat", "dog")


@pytest.mark.parametrize("ref, says", [
    ("file.txt", "is a file"), ("x" * 300, "File name too long"), ("file.txt/a", "Not a directory"),
    ("~nobody-of-this-name/a", "does not exist"),
])  # fmt: skip
def test_a_place_that_is_no_folder_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(InputError, match=says):
        opened(Path(ref))
