"""How an image becomes the input of a model: a value that travels with the weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from tdq_core.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_SIDE = 8192
"""Of what a model sees, in pixels: one float32 image of that size takes 800 MB."""


def require_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """InputError where the values that are given are not those of 1 or 3 channels with pixels in [0, 1]."""
    lengths = {len(values) for values in (mean, std) if values is not None}
    if len(lengths) > 1 or not lengths <= {1, 3}:
        raise InputError(
            "The 'mean' and 'std' of a model must both have 1 or 3 values, one a channel. "
            f"Got {' and '.join(str(len(values)) for values in (mean, std) if values is not None)}."
        )
    for name, values, low in (("mean", mean, "[0"), ("std", std, "(0")):
        if any(not (0 < value <= 1 or (value == 0 and name == "mean")) for value in values or ()):
            raise InputError(
                f"The '{name}' of a model is that of pixels in [0, 1] and must lie in {low}, 1]: divide values for "
                f"pixels in 0-255 by 255. Got {', '.join(f'{value:g}' for value in values or ())}."
            )


def require_size(size: Sequence[int]) -> None:
    """InputError where it is no (height, width) that images can have."""
    if len(size) != 2 or not all(1 <= side <= LARGEST_SIDE for side in size):
        raise InputError(
            f"The 'input_size' must be a height and a width in pixels, 1 to {LARGEST_SIDE} each. "
            f"Got {'x'.join(map(str, size)) or 'nothing'}."
        )


@dataclass(frozen=True)
class Preprocessing:
    """Pixel values in [0, 1] are resized, cropped and normalised channel by channel.

    Attributes:
        input_size: (height, width) that the model sees, in pixels.
        mean, std: one value a channel; their length is the number of input channels (1 or 3).
        resize: the shorter side is resized to this many pixels, then the centre is cropped to `input_size`;
            None: images of another size are resized to `input_size` directly.
    """

    input_size: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: int | None = None

    def __post_init__(self) -> None:
        require_normalisation(self.mean, self.std)
        require_size(self.input_size)

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image as the model sees it."""
        return (self.channels, *self.input_size)
