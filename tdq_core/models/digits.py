"""The embedded default: a small residual network for 8x8 scanned digits."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tdq_core.models.initial import he_initialise


def _conv_bn(channels_in: int, channels: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; a 1x1 convolution on the shortcut where the shape changes."""

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv_bn(channels_in, channels, 3, stride=stride)
        self.conv2 = _conv_bn(channels, channels, 3)
        same = stride == 1 and channels_in == channels
        self.downsample = nn.Identity() if same else _conv_bn(channels_in, channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.downsample(x))


class DigitsResNet(nn.Module):
    """3x3 stem (32), block (32), strided block (64), block (64), 1x1 expansion (96), average pooling, linear head.

    157,930 params: seven 3x3 convolutions, two 1x1 convolutions and one linear layer.
    """

    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = _conv_bn(1, 32, 3)
        self.block1 = ResidualBlock(32, 32)
        self.block2 = ResidualBlock(32, 64, stride=2)
        self.block3 = ResidualBlock(64, 64)
        self.expand = _conv_bn(64, 96, 1)
        self.head = nn.Linear(96, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 8, 8) -> logits (N, num_classes)."""
        out = self.block3(self.block2(self.block1(F.relu(self.stem(x)))))
        out = F.relu(self.expand(out))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(out, 1), 1))


def digits_resnet() -> DigitsResNet:
    """The untrained network; its trained weights come with the project."""
    return he_initialise(DigitsResNet())
