"""Padding that depends on the size of the image, in front of a convolution."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from tdq_core.graph.operations import Pad

FIXED = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d}


class SamePadding(nn.Module):
    """Pads (N, C, H, W) so that a convolution with this kernel and stride gives (N, C', ceil(H / stride), ...).

    Args:
        kernel: its extent, dilation included, by axis.
        mode: 'constant', 'reflect' or 'replicate', as `functional.pad` says it.
        more: at which end one more goes where the number is odd: TensorFlow's 'same' has it at the 'end'.
    """

    def __init__(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        mode: str = "constant",
        value: float = 0.0,
        more: Literal["end", "start"] = "end",
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.mode, self.value, self.more = kernel, stride, mode, value, more

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self._around(x.shape[-2], 0)
        left, right = self._around(x.shape[-1], 1)
        value = self.value if self.mode == "constant" else None
        return functional.pad(x, (left, right, top, bottom), self.mode, value)

    def _around(self, size: int, axis: int) -> tuple[int, int]:
        places = -(-size // self.stride[axis])
        missing = max((places - 1) * self.stride[axis] + self.kernel[axis] - size, 0)
        less = missing // 2
        return (less, missing - less) if self.more == "end" else (missing - less, less)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, mode={self.mode!r}, more={self.more!r}"


def fixed(pad: Pad) -> nn.Module:
    """The same amounts for images of every size."""
    left, right, top, bottom = pad.amounts
    if pad.mode == "constant":
        return nn.ConstantPad2d((left, right, top, bottom), pad.value)
    return FIXED[pad.mode]((left, right, top, bottom))
