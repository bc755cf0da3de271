"""Networks woven from steps at random: norms where they may be folded, and where they may not."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, CLASSES = 4, 5
STEPS = (
    "plain", "norm's input used", "two norms", "conv again", "pair again", "norm again", "by keyword",
    "changed in place", "a slice changed", "no statistics", "transposed in groups", "weight used by a function",
)  # fmt: skip


class Step(nn.Module):
    """One way in which a convolution and a norm meet."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=kind != "conv again")
        self.norm = nn.BatchNorm2d(WIDTH, track_running_stats=kind != "no statistics")
        if kind in ("two norms", "conv again"):
            self.other = nn.BatchNorm2d(WIDTH)
        if kind == "transposed in groups":
            self.conv = nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        if self.kind == "by keyword":
            return norm(input=conv(input=x)).relu()
        y = conv(x)
        if self.kind == "norm's input used":
            return norm(y).relu() + y
        if self.kind == "two norms":
            return norm(y).relu() + self.other(y)
        if self.kind == "conv again":
            return self.other(conv(norm(y).relu())).relu()
        if self.kind == "pair again":
            return norm(conv(norm(y).relu())).relu()
        if self.kind == "norm again":
            return norm(norm(y).relu())
        if self.kind == "changed in place":
            z = norm(y)
            return z + y.mul_(2)
        if self.kind == "a slice changed":
            y[:, :2].mul_(3)
        if self.kind == "weight used by a function":
            return norm(y).relu() + F.conv2d(x, conv.weight, padding=1)
        return norm(y).relu()


class Woven(nn.Module):
    """A stem, the steps, pooling, a linear layer and its norm, a classifier."""

    def __init__(self, kinds: list[str]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.steps = nn.ModuleList(Step(kind) for kind in kinds)
        self.neck, self.norm, self.head = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step in self.steps:
            x = step(x)
        y = self.neck(x.mean((2, 3)))
        return self.head(self.norm(y).relu() + y)


def woven(*kinds: str, seed: int = 0) -> nn.Module:
    """In eval mode, with measured statistics and drawn gains and shifts."""
    torch.manual_seed(seed)
    net = Woven(list(kinds))
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        net.train()(torch.randn(32, 3, 6, 6))
    return net.eval()
