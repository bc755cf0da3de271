"""Folding batch norms: the same function with fewer layers, wherever a batch norm follows a convolution alone."""

import copy

import pytest
import torch
from quantize_nets import images, small_net
from torch import Tensor, nn
from torch.nn import functional as F

from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize.fold import folded
from tdq_core.errors import RunFailed
from tdq_core.graph.layer_table import read_layers
from tdq_core.models.cifar import googlenet_cifar10
from tdq_core.models.he_resnet import resnet20_cifar10
from tdq_core.models.imagenet import googlenet
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule
from tdq_core.system.torchvision_compat import torchvision


def stirred(net: nn.Module, size: int = 32) -> nn.Module:
    """Random weights and batch norms with gains, shifts and measured statistics."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
    with torch.no_grad():
        net.train()(images(8, seed=1, size=size))
    return net.eval()


def decomposed(net: nn.Module, method: str, size: int) -> nn.Module:
    table = read_layers(net, images(2, size=size), name="net", digest="0")
    return apply_plan(net, make_plan(table, method, RankRule("ratio", 2.0)))[0]


NETS = {
    "small": lambda: (small_net(), 8),
    "resnet20": lambda: (stirred(resnet20_cifar10()), 32),
    "googlenet_cifar10": lambda: (stirred(googlenet_cifar10()), 32),
    "resnet18": lambda: (stirred(torchvision.models.resnet18(weights=None), 64), 64),
    "googlenet": lambda: (stirred(googlenet(), 64), 64),
    "resnet20 tucker2": lambda: (decomposed(stirred(resnet20_cifar10()), "tucker2", 32), 32),
    "resnet20 cp": lambda: (decomposed(stirred(resnet20_cifar10()), "cp", 32), 32),
    "resnet20 svd": lambda: (decomposed(stirred(resnet20_cifar10()), "svd", 32), 32),
}


@pytest.mark.parametrize("name", NETS)
def test_the_folded_model_is_the_model(name):
    torch.manual_seed(0)
    net, size = NETS[name]()
    before = copy.deepcopy(net.state_dict())
    small, left = folded(net, images(3, seed=2, size=size))
    assert left == () and not any(isinstance(m, nn.BatchNorm2d) for m in small.modules())
    batch = images(4, seed=3, size=size)
    with torch.inference_mode():
        expected, got = net(batch), small(batch)
    assert (expected - got).abs().max() <= 1e-4 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in (*net.modules(), *small.modules()))


class Ways(nn.Module):
    """A convolution and a batch norm, joined in the way of `join`."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if float(x.abs().sum()) < 0:  # no tracer can follow this
            raise ValueError
        return getattr(self, self.join)(x, y).flatten(1)

    def alone(self, x: Tensor, y: Tensor) -> Tensor:
        assert y.shape == x.shape and y.dim() == 4
        return F.relu(self.norm(y))

    def twice(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(y) + y

    def listed(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([self.norm(y), y])[: len(x)]

    def changed(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(y.relu_())

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(F.relu(y))

    def conv_again(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(y) + self.conv(x + 1)

    def norm_again(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(y) + self.norm(x)

    def before(self, x: Tensor, y: Tensor) -> Tensor:
        return self.conv(self.norm(x))


WAYS = ("alone", "twice", "listed", "changed", "between", "conv_again", "norm_again", "before")


@pytest.mark.parametrize("join", WAYS)
def test_only_a_batch_norm_that_alone_takes_the_output_is_folded(join):
    torch.manual_seed(1)
    net = stirred(Ways(join), 8)
    small, left = folded(net, images(3, size=8))
    assert left == (() if join == "alone" else ("norm",))
    batch = images(5, seed=4)
    with torch.inference_mode():
        torch.testing.assert_close(small(batch), net(batch), rtol=1e-4, atol=1e-5)


def test_batch_norms_with_a_behaviour_of_their_own_are_left():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    net = stirred(nn.Sequential(nn.Conv2d(3, 4, 1), WithActivation(4), nn.Flatten()), 8)
    assert folded(net, images(2))[1] == ("1",)


def test_a_fold_that_changes_the_function_is_a_failed_run(monkeypatch):
    monkeypatch.setattr("tdq_core.compression.quantize.fold._fold", lambda conv, norm: None)
    with pytest.raises(RunFailed, match=r"Folding the batch norms.*changed the logits"):
        folded(small_net(), images(3))
