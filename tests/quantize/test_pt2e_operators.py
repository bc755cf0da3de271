"""INT8 through torch takes what people write around a convolution: padding by name, and numbers that are added."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.artefact import Request
from tdq_core.compression.quantize.torch_int8 import torch_int8
from tdq_core.specs.precision import PRECISIONS


class Net(nn.Module):
    def __init__(self, conv: nn.Conv2d, way: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.head, self.way = conv, nn.BatchNorm2d(8), nn.Linear(8, 5), way

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.way(self, x).mean((2, 3)))


def usual(net: Net, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)).relu()


CASES = {
    "same": (nn.Conv2d(3, 8, 3, padding="same"), usual),
    "same, even": (nn.Conv2d(3, 8, 4, padding="same"), usual),
    "same, dilated": (nn.Conv2d(3, 8, (3, 2), padding="same", dilation=(2, 1)), usual),
    "valid": (nn.Conv2d(3, 8, 3, padding="valid", bias=False), usual),
    "reflect": (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), usual),
    "0 + x": (nn.Conv2d(3, 8, 3), lambda net, x: 0 + net.conv(x)),
    "x + 1.5": (nn.Conv2d(3, 8, 3), lambda net, x: (net.conv(x) + 1.5).relu()),
    "sum": (nn.Conv2d(3, 8, 3), lambda net, x: sum([net.conv(x), net.conv(2 * x)])),
    "in place": (nn.Conv2d(3, 8, 3), lambda net, x: net.conv(x).add_(2).relu_()),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", CASES)
def test_what_is_written_around_a_convolution(case: str, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    net = Net(*CASES[case]).eval()
    x = torch.randn(8, 3, 9, 9)
    folder = request.getfixturevalue("tmp_path")
    made = torch_int8(net, Request(example=x, calibration=lambda: [x], folder=folder), PRECISIONS["int8"])
    with torch.no_grad():
        expected = net(x)
    assert float((made.predict(x) - expected).norm() / expected.norm()) < 0.03
