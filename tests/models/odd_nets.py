"""Odd modules of each kind, by the name of what is odd about them, in a network whose answers they decide."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune


class Net(nn.Module):
    """A stem, what is looked at, and a classifier; the middle one maps (N, 8, H, W) to (N, 8, H', W')."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.stem, self.middle, self.fc = nn.Conv2d(3, 8, 3), middle, nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.middle(self.stem(x)).relu().mean((2, 3)))


class LastDim(nn.Module):
    """A layer over the last dimension, as one over channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SamePad(nn.Conv2d):
    """TensorFlow's: one more at the end where the number is odd."""

    mode, more_at_start = "constant", False

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (1, 0):
            size, stride, d = x.shape[2 + axis], self.stride[axis], self.dilation[axis]
            missing = max((math.ceil(size / stride) - 1) * stride + (self.kernel_size[axis] - 1) * d + 1 - size, 0)
            ends = [missing // 2, missing - missing // 2]
            pads += reversed(ends) if self.more_at_start else ends
        x = functional.pad(x, pads, self.mode)
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SameReflected(SamePad):
    mode = "reflect"


class SameAtStart(SamePad):
    more_at_start = True


class HeldPad(nn.Conv2d):
    """Always the same padding, by a child."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pad = nn.ReplicationPad2d((0, 1, 2, 0))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(self.pad(image))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        mean, std = w.mean((1, 2, 3), keepdim=True), w.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (w - mean) / (std + 1e-5), self.bias)


class ConvWithLowRank(nn.Conv2d):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.down = nn.Conv2d(
            self.in_channels, 2, self.kernel_size, self.stride, self.padding, self.dilation, bias=False
        )
        self.up = nn.Conv2d(2, self.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.5 * self.up(self.down(x))


class Casting(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.double(), self.weight.double(), self.bias.double()).to(x.dtype)


class LowRank(nn.Linear):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.a, self.b = nn.Parameter(torch.randn(2, self.in_features)), nn.Parameter(torch.randn(self.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.a.t() @ self.b.t()


class Noisy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + torch.randn_like(self.weight) if self.training else self.weight
        return functional.linear(x, weight, self.bias)


class Called(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x) * 3


class NormThenReLU(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


class Frozen(nn.Module):
    """A batch norm of buffers, which says no eps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class ThenReLU(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class ByInput(nn.Conv2d):
    """Its kernel depends on what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * x.mean(), self.bias)


class EachTime(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + torch.randint(1 << 20, (), generator=GENERATOR) / (1 << 20))


GENERATOR = torch.Generator()


class Doubling(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Drawing(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * (1 + torch.rand((), generator=GENERATOR))


def conv(kind: type[nn.Conv2d] = nn.Conv2d, **how: Any) -> nn.Conv2d:
    return kind(8, 8, 3, **({"padding": 1} | how))


def changed(module: nn.Module, change: Callable[[Any], object]) -> nn.Module:
    change(module)
    return module


def patched(layer: Any) -> None:
    plain = layer.forward
    layer.forward = lambda x: plain(x)


def patched_louder(layer: Any) -> None:
    plain = layer.forward
    layer.forward = lambda x: 2 * plain(x)


def pruned(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.random_structured(layer, "weight", 0.25, 0)


def with_statistics(norm: nn.Module) -> nn.Module:
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return norm


PADDED = {
    "same": lambda: conv(SamePad, padding=0, stride=2),
    "same, dilated, by groups": lambda: conv(SamePad, padding=0, stride=2, dilation=2, groups=2),
    "same, reflected": lambda: conv(SameReflected, padding=0),
    "same, more at the start": lambda: conv(SameAtStart, padding=0, stride=(2, 3)),
    "padding held, by keyword": lambda: conv(HeldPad, padding=0),
}
PLAIN_LAYERS = {
    "nothing of its own": lambda: conv(type("Mine", (nn.Conv2d,), {})),
    "standardised": lambda: conv(Standardised),
    "its padding mode stays": lambda: conv(Standardised, padding_mode="circular"),
    "low rank beside, strided": lambda: conv(ConvWithLowRank, stride=2),
    "casting": lambda: LastDim(Casting(8, 8)),
    "low rank": lambda: LastDim(LowRank(8, 8)),
    "noise when it trains": lambda: LastDim(Noisy(8, 8)),
    "patched, the same": lambda: changed(conv(), patched),
    "called louder": lambda: LastDim(Called(8, 8)),
}
COMPUTED = {
    "weight norm": lambda: changed(conv(), nn.utils.weight_norm),
    "spectral norm": lambda: changed(conv(), nn.utils.spectral_norm),
    "pruned twice": lambda: changed(conv(), pruned),
    "newer weight norm": lambda: changed(conv(), nn.utils.parametrizations.weight_norm),
    "newer spectral norm": lambda: LastDim(changed(nn.Linear(8, 8), nn.utils.parametrizations.spectral_norm)),
    "orthogonal": lambda: LastDim(changed(nn.Linear(8, 8), nn.utils.parametrizations.orthogonal)),
    "one after another, bias too": lambda: changed(
        conv(),
        lambda c: [parametrize.register_parametrization(c, n, Doubling()) for n in ("weight", "weight", "bias")],
    ),
    "a subclass, normed": lambda: changed(conv(SamePad, padding=0), nn.utils.weight_norm),
    "half of a weight norm pruned": lambda: changed(
        conv(), lambda c: (nn.utils.weight_norm(c), prune.l1_unstructured(c, "weight_v", 0.3))
    ),
}
NORMS = {
    "synchronised": lambda: with_statistics(nn.SyncBatchNorm(8)),
    "norm, then activation": lambda: with_statistics(NormThenReLU(8)),
    "frozen": lambda: Frozen(8),
    "a subclass without weights": lambda: with_statistics(type("Mine", (nn.BatchNorm2d,), {})(8, affine=False)),
    "instance norm at rest": lambda: with_statistics(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)),
}
HOOKED = {
    "a hook after it": lambda: changed(
        conv(), lambda c: c.register_forward_hook(lambda _, __, y: y.clamp(min=-0.1, max=0.3))
    ),
    "a hook before it": lambda: changed(
        conv(SamePad, padding=0), lambda c: c.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    ),
    "a hook on a norm": lambda: changed(
        with_statistics(nn.BatchNorm2d(8)), lambda n: n.register_forward_hook(lambda _, __, y: y * 2)
    ),
}
OPENED = PADDED | PLAIN_LAYERS | COMPUTED | NORMS | HOOKED

LEFT = {
    "more than a convolution": (lambda: conv(ThenReLU), "computes something else than a plain convolution"),
    "by its input": (lambda: conv(ByInput), "computes something else than a plain convolution"),
    "otherwise each time": (lambda: LastDim(EachTime(8, 8)), "computes something else than a plain linear layer"),
    "patched, louder than a norm": (
        lambda: changed(with_statistics(nn.BatchNorm2d(8)), lambda n: n.register_forward_pre_hook(by_layer)),
        "has the hook by_layer, which works on this very layer",
    ),
    "drawn anew": (
        lambda: changed(conv(), lambda c: parametrize.register_parametrization(c, "weight", Drawing())),
        "computes its weight by Drawing, which gives another value each time",
    ),
    "set from outside": (
        lambda: changed(conv(), lambda c: (delattr(c, "weight"), setattr(c, "weight", torch.ones(8, 8, 3, 3)))),
        "takes its weight from elsewhere",
    ),
}


def by_layer(norm: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    assert isinstance(norm, nn.BatchNorm2d)
    return (args[0] * norm.weight.mean(),)
