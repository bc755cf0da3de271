"""How an image becomes the input of a model: a value that travels with the weights."""

from dataclasses import dataclass

from tdq_core.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise InputError(
                "The 'mean' and 'std' of a model must both have 1 or 3 values, one a channel. "
                f"Got {len(self.mean)} and {len(self.std)}."
            )
        if min(self.std) <= 0:
            raise InputError(f"The 'std' of a model must be positive. Got {self.std}.")
        if min(self.input_size) < 1:
            raise InputError(f"The 'input_size' must be positive, in pixels. Got {self.input_size}.")

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image as the model sees it."""
        return (self.channels, *self.input_size)
