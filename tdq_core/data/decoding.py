"""From an image file or array to the pixels that a model sees, as torchvision's transforms would give them."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tdq_core.data.listing import Picture
from tdq_core.errors import InputError
from tdq_core.specs.preprocessing import Preprocessing


def decode(picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 pixels (H, W, C) at the model's size: grey or RGB, resized bilinearly (antialiased), centre-cropped.

    Raises:
        InputError: names the file that is damaged, or of a kind that is not read (16 bits or float a channel).
    """
    if isinstance(picture, np.ndarray):
        return _fit(Image.fromarray(picture), preprocessing)
    try:
        with Image.open(picture) as image:
            if image.mode[0] in "IF":
                raise InputError(
                    f"The image '{picture}' has more than 8 bits a channel ({image.mode}): convert it first."
                )
            return _fit(image, preprocessing)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"The image '{picture}' cannot be read: {reason}.") from error


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
