"""Layers and networks whose inputs are as uneven as real ones, and what is known of them."""

import msgspec
import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.fit import Fitted
from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import Factorized
from tdq_core.compression.methods import IMPLEMENTATIONS, decompose


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def skewed(n: int, columns: int, seed: int = 0) -> Tensor:
    """Correlated rows whose directions differ a thousandfold in variance, off the origin."""
    scales = torch.logspace(0, -1.5, columns)
    return normal(n, columns, seed=seed) * scales @ normal(columns, columns, seed=seed + 1) + 0.5


def seen(
    o: int = 6, i: int = 5, k: int = 3, seed: int = 0, noise: float = 0.1
) -> tuple[Moments, Tensor, Tensor, Tensor]:
    """Moments of a random layer, and what they were made from: weight, rows, wanted outputs."""
    weight = normal(o, i, k, k, seed=seed + 2)
    rows = skewed(400, i * k * k, seed)
    wanted = rows @ weight.flatten(1).T + noise * normal(400, o, seed=seed + 3) + 1.0
    return moments(rows, wanted, weight), weight, rows, wanted


def mean_square(rows: Tensor, wanted: Tensor, weight: Tensor) -> float:
    x, y = rows.double() - rows.double().mean(0), wanted.double() - wanted.double().mean(0)
    return float((y - x @ weight.double().flatten(1).T).square().sum() / len(rows))


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
              nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]  # fmt: skip
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.3 * torch.randn(module.num_features)
            module.running_var *= 0.5 + torch.rand(module.num_features)
    return model.eval().requires_grad_(False)


IMAGES = normal(24, 3, 10, 10, seed=5)


def batches() -> list[Tensor]:
    return list(IMAGES.split(7))


def fit(
    seen: Moments, weight: Tensor, method: str, ranks: tuple[int, ...], *, gain: Tensor, options: Options
) -> Fitted:
    """Factors of least error in the outputs, from those of the weights where a method begins there."""
    return IMPLEMENTATIONS[method].fit(
        seen, weight, ranks, gain, options, lambda: decompose(weight, method, ranks, options)
    )


def told(layer: Factorized) -> dict[str, object]:
    """What the steps tell of a layer, as the record holds it."""
    return {name: value for each in layer.details for name, value in msgspec.to_builtins(each).items()}
