"""One convolution, one batch norm and what happens between them, written with modules and with functions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGES = torch.randn(24, 3, 10, 10, generator=torch.Generator().manual_seed(5))


def batches() -> list[Tensor]:
    return list(IMAGES.split(7))


class Sum(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class Grow(nn.Module):
    """Adds in place."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        one += other
        return one


class Clear(nn.Module):
    """Clears one channel in place."""

    def forward(self, one: Tensor) -> Tensor:
        one[:, 0] = 0.0
        return one


class Net(nn.Module):
    """`wire` joins a convolution of 3 to 3 channels, batch norms and a second convolution."""

    def __init__(self, wire: "Wire") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.again = (nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2))
        self.norm, self.other = (_stirred(nn.BatchNorm2d(3)) for _ in range(2))
        self.blind = nn.BatchNorm2d(3, track_running_stats=False)
        self.sum, self.grow, self.clear, self.same = Sum(), Grow(), Clear(), nn.Identity()
        self.relu, self.relu_, self.drop = nn.ReLU(), nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.head = nn.Linear(3, 4)
        self.wire = wire
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.wire(self, x).mean((2, 3)))


Wire = Callable[[Net, Tensor], Tensor]


def _stirred(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.running_mean += 0.3 * torch.randn(3)
    norm.running_var *= 0.5 + torch.rand(3)
    norm.weight.data = torch.randn(3)
    return norm


def _after(net: Net, x: Tensor, do: Callable[[Tensor], object]) -> Tensor:
    """Batch norm after something was done with the convolution's output, whatever that gives."""
    y = net.conv(x)
    do(y)
    return net.norm(y)


def _shared(net: Net, x: Tensor, norms: tuple[str, str]) -> Tensor:
    """The convolution twice, each time with a norm."""
    for norm in norms:
        x = functional.relu(net.get_submodule(norm)(net.conv(x)))
    return x


SOLE: dict[str, Wire] = {
    "norm(y)": lambda n, x: n.norm(n.conv(x)),
    "keywords": lambda n, x: n.norm(input=n.conv(input=x)),
    "y is asked for its shape": lambda n, x: _after(
        n, x, lambda y: (y.shape, y.size(), y.dim(), y.dtype, y.device, y.is_contiguous(), y.stride(), len(y))
    ),
    "norm(dropout(y)), a function": lambda n, x: n.norm(functional.dropout(n.conv(x), training=n.training)),
    "norm(dropout(y)), a module": lambda n, x: n.norm(n.drop(n.conv(x))),
    "norm(y.to(y))": lambda n, x: n.norm((y := n.conv(x)).to(y.dtype).contiguous()),
    "norm(identity(y))": lambda n, x: n.norm(n.same(n.conv(x))),
    "norm(y) + x": lambda n, x: n.norm(n.conv(x)) + x,
    "relu_(norm(y))": lambda n, x: functional.relu_(n.norm(n.conv(x))),
    "twice, one norm": lambda n, x: _shared(n, x, ("norm", "norm")),
}
"""Ways in which 'norm' alone takes what 'conv' makes."""

NOT_SOLE: dict[str, Wire] = {
    "norm(y) + y, a function": lambda n, x: n.norm(y := n.conv(x)) + y,
    "norm(y) + y, a module": lambda n, x: n.sum(n.norm(y := n.conv(x)), y),
    "y + norm(y)": lambda n, x: (y := n.conv(x)) + n.norm(y),
    "y += x, a function": lambda n, x: n.norm(n.conv(x).add_(x)),
    "y += x, a module": lambda n, x: n.norm(n.grow(n.conv(x), x)),
    "relu before, a function": lambda n, x: n.norm(functional.relu(n.conv(x))),
    "relu before, a module": lambda n, x: n.norm(n.relu(n.conv(x))),
    "relu in place, a function": lambda n, x: n.norm(functional.relu_(n.conv(x))),
    "relu in place, a module": lambda n, x: n.norm(n.relu_(n.conv(x))),
    "y[:, 0] = 0, here": lambda n, x: _after(n, x, lambda y: y.__setitem__((slice(None), 0), 0.0)),
    "y[:, 0] = 0, a module": lambda n, x: n.norm(n.clear(n.conv(x))),
    "a list of tensors changed": lambda n, x: _after(n, x, lambda y: torch._foreach_mul_([y], 2.0)),
    "a view changed": lambda n, x: _after(n, x, lambda y: y[0].zero_()),
    "two norms": lambda n, x: n.norm(y := n.conv(x)) + n.other(y),
    "in a list": lambda n, x: torch.cat([n.norm(y := n.conv(x)), y], 1)[:, 2:5],
    "by keyword": lambda n, x: torch.add(n.norm(y := n.conv(x)), other=y),
    "a number of it": lambda n, x: n.norm(y := n.conv(x)) * y.amax().item(),
    "numbers of it": lambda n, x: n.norm(y := n.conv(x)) * float(y.tolist()[0][0][0][0]),
    "an array of it": lambda n, x: n.norm(y := n.conv(x)) * float(y.numpy().max()),
    "its data": lambda n, x: n.norm(y := n.conv(x)) + y.data,
    "its size decides": lambda n, x: n.norm(y := n.conv(x)) * (2.0 if y.sum() > 0 else 1.0),
    "nobody": lambda n, x: n.norm(x) + 0 * n.conv(x),
    "norm takes x too": lambda n, x: n.norm(n.conv(x)) + n.norm(x),
    "norm of two convolutions": lambda n, x: n.norm(n.conv(x)) + n.norm(n.again(x)),
    "conv again": lambda n, x: n.norm(n.conv(x)) + n.conv(x + 1),
    "twice, two norms": lambda n, x: _shared(n, x, ("norm", "other")),
    "no statistics": lambda n, x: n.blind(n.conv(x)),
    "norm before": lambda n, x: n.conv(n.norm(x)),
}
"""Ways in which something else takes it too, or something other than it is taken."""
