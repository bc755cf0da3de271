"""Who takes a layer's output: operations count, so that functions and modules are answered alike."""

import copy

import pytest
import torch
from torch import Tensor, nn
from wired_nets import IMAGES, NOT_SOLE, SOLE, Net, batches

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.condition.apply import condition
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize.fold import folded
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.graph.layer_table import read_layers
from tdq_core.graph.uses import following_norms
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import RankRule


def plan_of(net: nn.Module, rank: int = 2) -> Plan:
    table = read_layers(net, IMAGES[:2], name="n", digest="")
    return make_plan(table, "svd", RankRule("manual", ranks={"conv": rank}))


@pytest.mark.parametrize("way", SOLE)
def test_a_norm_that_alone_takes_an_output_is_found(way: str) -> None:
    net = Net(SOLE[way])
    assert following_norms(net, ["conv", "again"], IMAGES[:1]) == {"conv": "norm"}
    small, left = folded(net, IMAGES[:3])
    assert "norm" not in left
    torch.testing.assert_close(small(IMAGES), net(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", NOT_SOLE)
def test_any_other_taker_counts_however_it_is_written(way: str) -> None:
    net = Net(NOT_SOLE[way])
    assert "conv" not in following_norms(net, ["conv"], IMAGES[:1])
    small, left = folded(net, IMAGES[:3])
    assert "norm" in left and torch.equal(small(IMAGES), net(IMAGES))


@pytest.mark.parametrize("way", [*SOLE, *NOT_SOLE])
def test_of_a_decomposed_layer_the_last_stage_answers(way: str) -> None:
    net = Net((SOLE | NOT_SOLE)[way])
    built = apply_plan(net, plan_of(net))[0]
    assert following_norms(built, ["conv"], IMAGES[:1]) == following_norms(net, ["conv"], IMAGES[:1])
    assert following_norms(built, ["conv.output"], IMAGES[:1]).get("conv.output") == following_norms(
        net, ["conv"], IMAGES[:1]
    ).get("conv")


@pytest.mark.parametrize("way", NOT_SOLE)
def test_a_norm_that_is_not_alone_is_never_altered(way: str) -> None:
    """Fitted and conditioned layers give back means through a norm that is theirs alone, and through nothing else."""
    net = Net(NOT_SOLE[way])
    fitted = [
        apply_calibrated(net, plan_of(net), batches, options=Options())[0],
        apply_symmetric(net, plan_of(net), batches, len(IMAGES), options=Options())[0],
        condition(apply_plan(net, plan_of(net))[0], ["conv"], batches, Scheme(4, 4))[0],
    ]
    for made in fitted:
        for norm in ("norm", "other"):
            before, after = net.get_submodule(norm).state_dict(), made.get_submodule(norm).state_dict()
            assert all(torch.equal(before[key], after[key]) for key in before)


PAIRS = [("norm(y) + y", SOLE | NOT_SOLE, "norm(y) + y, a function", "norm(y) + y, a module"),
         ("y += x", NOT_SOLE, "y += x, a function", "y += x, a module"),
         ("relu", NOT_SOLE, "relu before, a function", "relu before, a module"),
         ("relu_", NOT_SOLE, "relu in place, a function", "relu in place, a module"),
         ("dropout", SOLE, "norm(dropout(y)), a function", "norm(dropout(y)), a module"),
         ("y[:, 0] = 0", NOT_SOLE, "y[:, 0] = 0, here", "y[:, 0] = 0, a module")]  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_one_network_written_in_two_ways_is_fitted_alike(pair: tuple[str, dict, str, str]) -> None:
    _, ways, one, other = pair
    made = []
    for name in (one, other):
        net = Net(ways[name])
        made.append([
            apply_calibrated(net, plan_of(net), batches, options=Options())[0](IMAGES),
            apply_symmetric(net, plan_of(net), batches, len(IMAGES), options=Options())[0](IMAGES),
        ])  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_what_the_network_returns_is_taken() -> None:
    class Returns(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.conv, self.norm, self.kind = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), kind

        def forward(self, x: Tensor) -> object:
            y = self.conv(x)
            z = self.norm(y)
            return {"logits": z, "pair": (z, y), "dict": {"logits": z, "before": [y]}}[self.kind]

    found = {kind: following_norms(Returns(kind).eval(), ["conv"], IMAGES[:1]) for kind in ("logits", "pair", "dict")}
    assert found == {"logits": {"conv": "norm"}, "pair": {}, "dict": {}}


def test_a_second_output_may_not_be_mistaken_for_the_first_one() -> None:
    """A tensor that is gone may have had the place in memory, and so the id, of one that comes later."""

    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(20):
                x = self.norm(self.conv(x + 1))
            return x

    assert following_norms(Many().eval(), ["conv"], IMAGES[:1]) == {"conv": "norm"}


def test_nothing_stays_on_the_network() -> None:
    net = Net(SOLE["norm(y)"])
    before = copy.deepcopy(net.state_dict())
    following_norms(net, ["conv"], IMAGES[:1])
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
