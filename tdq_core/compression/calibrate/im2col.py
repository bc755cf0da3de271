"""What a layer sees and makes at a sample of places: its input patches as rows, its outputs as rows."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCHES = 16384
"""Places a layer that are looked at, over all calibration images: with float32 rows this bounds the memory."""
CHUNK = 1 << 26
"""Values that are unfolded at a time (256 MiB)."""


def places(outputs: int, images: int, seed: int, *, of: int | None = None) -> Tensor:
    """Indices of the places of one image that are looked at in one call of a layer, the same for every image.

    Args:
        outputs: places of one image in this call (height x width of the output; tokens).
        of: places of one image in all calls of the layer together; None: there is only this one.
    """
    count = max(1, min(outputs, PATCHES * outputs // (max(images, 1) * (of or outputs))))
    if count == outputs:
        return torch.arange(outputs)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(outputs, generator=generator)[:count].sort().values


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
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    step = max(1, CHUNK // (padded[0].numel() * taps))
    return torch.cat(
        [_unfolded(layer, part)[:, :, chosen].transpose(1, 2).flatten(0, 1) for part in padded.split(step)]
    )


def output_rows(outputs: Tensor, chosen: Tensor, *, convolution: bool) -> Tensor:
    """A layer's outputs at the places `chosen`: (images x places, C_out), images first."""
    if convolution:
        return outputs.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1)
    return outputs.reshape(len(outputs), -1, outputs.shape[-1])[:, chosen].flatten(0, 1)


def output_places(layer: nn.Conv2d | nn.Linear, output: torch.Size) -> int:
    """Places of one image in an output of this shape."""
    return math.prod(output[-2:] if isinstance(layer, nn.Conv2d) else output[1:-1])


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    sides = layer._reversed_padding_repeated_twice  # also of padding='same'
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, sides, mode=mode)


def _unfolded(layer: nn.Conv2d, padded: Tensor) -> Tensor:
    return functional.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
