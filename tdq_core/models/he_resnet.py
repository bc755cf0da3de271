"""The CIFAR-10 ResNets of He et al. 2015 (arXiv 1512.03385), section 4.2, with option-A shortcuts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tdq_core.models.initial import he_initialise


class OptionAShortcut(nn.Module):
    """Identity across a change of shape, without parameters: every second pixel, zero channels half on either side."""

    def __init__(self, extra_channels: int) -> None:
        super().__init__()
        self.before = extra_channels // 2
        self.after = extra_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + extra_channels, H / 2, W / 2), sizes rounded up."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = OptionAShortcut(channels - channels_in) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """3x3 stem with 16 channels, three stages of 16/32/64 channels, global average pooling, one linear layer.

    Depth 6n + 2 for n blocks a stage. Keys equal the public checkpoints': `conv1.weight`, `bn1.*`,
    `layer{1,2,3}.{i}.conv{1,2}.weight`, `layer{1,2,3}.{i}.bn{1,2}.*`, `linear.*`.
    """

    def __init__(self, blocks: int, *, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks=blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks=blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks=blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> logits (N, num_classes)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(out, 1), 1))


def _stage(channels_in: int, channels: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride=stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


def _he_resnet(depth: int) -> CifarResNet:
    return he_initialise(CifarResNet((depth - 2) // 6), last_norm="bn2")


def resnet20_cifar10() -> CifarResNet:
    """269,722 params."""
    return _he_resnet(20)


def resnet32_cifar10() -> CifarResNet:
    """464,154 params."""
    return _he_resnet(32)


def resnet44_cifar10() -> CifarResNet:
    """658,586 params."""
    return _he_resnet(44)


def resnet56_cifar10() -> CifarResNet:
    """853,018 params."""
    return _he_resnet(56)


def resnet110_cifar10() -> CifarResNet:
    """1,727,962 params."""
    return _he_resnet(110)
