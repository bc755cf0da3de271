"""Networks that call a layer several times a pass: with one size or several, under one name or two."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Loop(nn.Module):
    """A residual loop over one convolution."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for _ in range(self.times):
            x = x + functional.relu(self.body(x))
        return self.head(x.mean((2, 3)))


class Sizes(nn.Module):
    """One convolution on maps of three sizes, once by keyword, and another layer in between."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.between, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(functional.avg_pool2d(functional.relu(self.body(x)), 2))
        z = self.between(functional.relu(self.body(input=y[:, :, :4, :3])))
        return self.head(functional.relu(self.body(y)).mean((2, 3)) + self.body(z).mean((2, 3)))


class Normed(nn.Module):
    """A convolution without bias and its batch norm, called together; `norms`: each call has one of its own."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norms, self.head = nn.ModuleList([nn.BatchNorm2d(8) for _ in range(norms)]), nn.Linear(8, 5)
        for norm in self.norms:
            norm.running_mean += 0.3 * torch.randn(8)
            norm.running_var *= 0.5 + torch.rand(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for call in range(2):
            x = functional.relu(self.norms[call % len(self.norms)](self.body(x)))
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """A Linear layer on tokens, on pairs of tokens and on single vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(30, 30), nn.Linear(30, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.body(x.transpose(1, 2).flatten(2)))  # (images, 10, 30)
        x = functional.gelu(self.body(x.unflatten(1, (5, 2))))
        return self.head(functional.gelu(self.body(x.mean((1, 2)))))


class Windows(nn.Module):
    """A Linear layer on the four quarters of each image, which lie as rows of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(75, 30), nn.Linear(30, 5)

    def forward(self, x: Tensor) -> Tensor:
        quarters = x.unfold(2, 5, 5).unfold(3, 5, 5).permute(0, 2, 3, 1, 4, 5).reshape(4 * len(x), 75)
        return self.head(functional.gelu(self.body(quarters)).view(len(x), 4, 30).mean(1))


class TwoNames(nn.Module):
    """One convolution as an attribute and inside of a Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.rest = nn.Sequential(nn.ReLU(), self.body, nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rest(self.body(self.stem(x))).mean((2, 3)))


class ByBatchStatistics(nn.Module):
    """A batch norm without running statistics: answers depend on the other images, yet rows lie image by image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8, track_running_stats=False), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        return self.head(functional.relu(self.norm(self.body(x))).mean((2, 3)))


NETS: dict[str, Callable[[], nn.Module]] = {
    "once": lambda: Loop(1),
    "twice": lambda: Loop(2),
    "three times": lambda: Loop(3),
    "three sizes, by keyword": Sizes,
    "with its norm": lambda: Normed(1),
    "with a norm a call": lambda: Normed(2),
    "tokens": Tokens,
    "windows": Windows,
    "two names": TwoNames,
}


def repeated(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]().eval().requires_grad_(False)


def images(count: int) -> Tensor:
    """Uneven and off the origin, as activations are."""
    draw = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, 10, 10, generator=draw) * torch.tensor([2.0, 1.0, 0.1])[:, None, None] + 0.5
