"""A network for 8x8 digits that is trained in a second: batch norms, a strided convolution, no more."""

from torch import nn

from tdq_core.models.registry import MODELS, ModelEntry

NAME = "small_digits"


def small_digits() -> nn.Module:
    """(N, 1, 8, 8) -> logits (N, 10), 2,834 params; smaller images too."""
    first = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    second = nn.Conv2d(8, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10))


ENTRY = ModelEntry(NAME, f"{__name__}:small_digits", MODELS["digits_resnet"].preprocessing, 10, "for tests")
