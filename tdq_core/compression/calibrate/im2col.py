"""What a layer sees and makes at a sample of places: its input patches as rows, its outputs as rows."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCHES = 16384
"""Places a layer that are looked at, over all calibration images: with float32 rows this bounds the memory."""


def places(outputs: Sequence[int], images: int, seed: int) -> tuple[Tensor, ...]:
    """For each call of a layer, indices of the places of one image that are looked at, the same for every image.

    They are as many in every call, so that each call counts alike: where a call has fewer places than another, they are
    taken several times.

    Args:
        outputs: places of one image (height x width of the output; tokens) in each call of a pass.
    """
    count = max(1, min(max(outputs, default=1), PATCHES // (max(images, 1) * max(len(outputs), 1))))
    return tuple(_chosen(each, count, seed) for each in outputs)


def _chosen(outputs: int, count: int, seed: int) -> Tensor:
    """`count` of so many places: all of them as often as they go, the rest drawn."""
    whole, rest = divmod(count, outputs)
    drawn = torch.randperm(outputs, generator=torch.Generator().manual_seed(seed))[:rest].sort().values
    return torch.cat([*[torch.arange(outputs)] * whole, drawn])


def input_rows(layer: nn.Conv2d | nn.Linear, inputs: Tensor, chosen: Tensor) -> Tensor:
    """The patches that `layer` sees at the places `chosen`: (images x places, C_in K_h K_w), images first.

    A row lies as a row of the weight unfolded does: `rows @ weight.flatten(1).T` is the output without its bias.
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(len(inputs), -1, inputs.shape[-1])[:, chosen].flatten(0, 1)
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        strided = inputs[:, :, :: layer.stride[0], :: layer.stride[1]]
        return strided.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1)
    padded = _padded(layer, inputs)
    seen = padded.flatten(2).index_select(2, _taps(layer, padded.shape[-2:], chosen).flatten())  # (N, C, places x taps)
    return seen.unflatten(2, (len(chosen), -1)).transpose(1, 2).flatten(2).flatten(0, 1)


def _taps(layer: nn.Conv2d, size: torch.Size, chosen: Tensor) -> Tensor:
    """(places, K_h K_w): where in a padded image, read row by row, the taps of the places `chosen` lie."""
    width, (down, right) = size[1], layer.kernel_size
    columns = (width - layer.dilation[1] * (right - 1) - 1) // layer.stride[1] + 1
    rows, places = chosen // columns * layer.stride[0], chosen % columns * layer.stride[1]
    taps = torch.arange(down)[:, None] * layer.dilation[0] * width + torch.arange(right) * layer.dilation[1]
    return (rows * width + places)[:, None] + taps.flatten()


def output_rows(outputs: Tensor, chosen: Tensor, *, convolution: bool) -> Tensor:
    """A layer's outputs at the places `chosen`: (images x places, C_out), images first."""
    if convolution:
        return outputs.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1)
    return outputs.reshape(len(outputs), -1, outputs.shape[-1])[:, chosen].flatten(0, 1)


def output_places(layer: nn.Conv2d | nn.Linear, output: torch.Size) -> int:
    """Places of one image in an output of this shape."""
    return math.prod(output[-2:] if isinstance(layer, nn.Conv2d) else output[1:-1])


def input_places(layer: nn.Conv2d | nn.Linear, inputs: torch.Size) -> int:
    """Places of one image at which `layer` is applied to an input of this shape."""
    if isinstance(layer, nn.Linear):
        return math.prod(inputs[1:-1])
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    sizes = inputs[-2] + top + bottom, inputs[-1] + left + right
    steps = zip(sizes, layer.kernel_size, layer.dilation, layer.stride, strict=True)
    return math.prod((size - dilation * (kernel - 1) - 1) // stride + 1 for size, kernel, dilation, stride in steps)


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    sides = layer._reversed_padding_repeated_twice  # also of padding='same'
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, sides, mode=mode)
