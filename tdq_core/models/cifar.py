"""torchvision's five models, adapted to 3x32x32 inputs and 10 classes; each docstring says what was changed."""

from torch import nn

from tdq_core.models.initial import he_initialise
from tdq_core.system.torchvision_compat import torchvision


def _small_stem(net: nn.Module, last_norm: str) -> nn.Module:
    net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return he_initialise(net, last_norm=last_norm)


def resnet18_cifar10() -> nn.Module:
    """11,173,962 params: a 3x3 stride-1 stem without max-pool, so that the four stages see 32, 16, 8 and 4 pixels."""
    return _small_stem(torchvision.models.resnet18(num_classes=10), "bn2")


def resnet34_cifar10() -> nn.Module:
    """21,282,122 params: the stem as in `resnet18_cifar10`."""
    return _small_stem(torchvision.models.resnet34(num_classes=10), "bn2")


def resnet50_cifar10() -> nn.Module:
    """23,520,842 params: the stem as in `resnet18_cifar10`."""
    return _small_stem(torchvision.models.resnet50(num_classes=10), "bn3")


def googlenet_cifar10() -> nn.Module:
    """A 3x3 stride-1 first convolution, and no max-pool before inception 3a.

    Every other convolution is GoogLeNet's. The stages 3, 4 and 5 see 16, 8 and 4 pixels, then global average pooling.
    No auxiliary heads. 5,602,474 params.
    """
    net = torchvision.models.GoogLeNet(num_classes=10, aux_logits=False, transform_input=False, init_weights=False)
    net.conv1 = type(net.conv1)(3, 64, kernel_size=3, padding=1)  # convolution, batch norm, ReLU
    net.maxpool2 = nn.Identity()
    return he_initialise(net)


def alexnet_cifar10() -> nn.Module:
    """A 3x3 stride-2 stem, 3x3 convolutions, 2x2 max-pools; the classifier takes the last 2x2 map (1,024 values).

    Channels (64, 192, 384, 256, 256) and the two hidden layers of 4,096 are AlexNet's. 23,272,266 params.
    """
    net = torchvision.models.alexnet(num_classes=10)
    net.features[0] = nn.Conv2d(3, 64, 3, stride=2, padding=1)
    net.features[3] = nn.Conv2d(64, 192, 3, padding=1)
    for i in (2, 5, 12):
        net.features[i] = nn.MaxPool2d(2)
    net.avgpool = nn.Identity()
    net.classifier[1] = nn.Linear(256 * 2 * 2, 4096)
    return he_initialise(net)
