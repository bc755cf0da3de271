"""From an image file or array to the pixels that a model sees, as torchvision's transforms would give them.

Files are read as a viewer shows them: turned as their EXIF orientation says, on white, the first frame.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from tdq_core.data.listing import Picture
from tdq_core.errors import InputError
from tdq_core.specs.preprocessing import Preprocessing

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # up to twice that size is read, above it is an error

_READ = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"))
TURNED = "turned as the EXIF orientation says"
ON_WHITE = "laid on white, where transparent"
FIRST_FRAME = "read by the first of several frames"
FROM_CMYK = "converted from CMYK without a colour profile"


def decode(picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 pixels (H, W, C) at the model's size: grey or RGB, resized bilinearly (antialiased), centre-cropped.

    Raises:
        InputError: names the file that is damaged, or of a kind that is not read (see `peculiarities`).
    """
    if isinstance(picture, np.ndarray):
        return _fit(Image.fromarray(picture), preprocessing)
    with _named(picture), Image.open(picture) as image:
        return _fit(_as_seen(image), preprocessing)


def peculiarities(picture: Path, content: bytes) -> tuple[str, ...]:
    """What is done to the image in the file `picture`, beyond decoding it; only the head of its `content` is read.

    Raises:
        InputError: names a file that is no image, or too large, or has colours that are not read (16 bits or float a
            channel, Lab).
    """
    with _named(picture), Image.open(io.BytesIO(content)) as image:
        if image.mode[0] in "IF":
            raise InputError(f"The image '{picture}' has more than 8 bits a channel ({image.mode}): convert it first.")
        if image.mode not in _READ:
            raise InputError(f"The image '{picture}' has colours that are not read ({image.mode}): convert it first.")
        done = {
            TURNED: _is_turned(image),
            ON_WHITE: image.has_transparency_data,
            FIRST_FRAME: getattr(image, "is_animated", False),
            FROM_CMYK: image.mode == "CMYK",
        }
    return tuple(what for what, there in done.items() if there)


@contextlib.contextmanager
def _named(picture: Path) -> Iterator[None]:
    """Whatever a decoder says of a file that it cannot read is one sentence that names the file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # decoders of some thirty formats, each with errors of its own for damaged files
        reason = " ".join(str(error).split()).rstrip(".").replace(str(picture), "it") or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is empty" if picture.is_file() and not picture.stat().st_size else "it is no image"
        raise InputError(f"The image '{picture}' cannot be read: {reason}.") from error


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def _as_seen(image: Image.Image) -> Image.Image:
    if _is_turned(image):
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _fit(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    image = image.convert("RGB" if preprocessing.channels == 3 else "L")
    height, width = preprocessing.input_size
    if preprocessing.resize is not None:
        image = _centre_crop(_resize_shorter(image, preprocessing.resize), height, width)
    elif image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(height, width, preprocessing.channels)


def _resize_shorter(image: Image.Image, pixels: int) -> Image.Image:
    """The longer side is rounded down, as torchvision does."""
    width, height = image.size
    short, long = min(width, height), int(pixels * max(width, height) / min(width, height))
    if short == pixels:
        return image
    return image.resize((pixels, long) if width <= height else (long, pixels), Image.Resampling.BILINEAR)


def _centre_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    if left < 0 or top < 0:
        raise InputError(
            f"The model's 'resize' ({min(image.size)} pixels) must be at least its input size ({height} x {width})."
        )
    return image.crop((left, top, left + width, top + height))


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 (N, C, H, W) -> float32 (N, C, H, W): scaled to [0, 1], then (x - mean) / std channel by channel."""
    mean, std = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)
