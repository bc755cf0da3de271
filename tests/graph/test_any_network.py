"""The law of the engine: however a network is written, what TDQ makes of it is the same function."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.pairing import without_unpaired
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize import Request, realise
from tdq_core.compression.quantize.fold import folded
from tdq_core.graph.layer_table import count_macs, count_params, read_layers
from tdq_core.graph.replace import require_replaced
from tdq_core.layers.methods import method_for
from tdq_core.layers.table import LayerTable
from tdq_core.ranks.costs import max_ranks
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import RankRule

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
STEPS = ("conv", "branch", "norm", "norm elsewhere", "repeat", "keyword", "listed", "inplace", "function", "grouped",
         "tokens", "tokens, positions first", "constants", "tied")  # fmt: skip


class Woven(nn.Module):
    """Steps one after the other, each of which writes a layer in its own way; `plainly` writes the same otherwise:
    functions as modules, keywords by position, lists as modules, positions second."""

    def __init__(self, steps: tuple[str, ...], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.steps, self.plainly = steps, False
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for step in steps:
            linear = step.startswith(("tokens", "constants", "tied"))
            groups = 2 if step == "grouped" else 1
            self.layers.append(nn.Linear(8, 8) if linear else nn.Conv2d(8, 8, 3, padding=1, groups=groups))
            self.norms.append(_stirred(nn.BatchNorm2d(8)))
        self.listed = [layer for step, layer in zip(steps, self.layers, strict=True) if step == "listed"]
        self.register_buffer("table", torch.randn(6, 8))
        self.relu_ = nn.ReLU(inplace=True)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x, listed = functional.relu(self.stem(x)), iter(self.listed)
        for step, layer, norm in zip(self.steps, self.layers, self.norms, strict=True):
            x = x + self._taken(step, next(listed) if step == "listed" and not self.plainly else layer, norm, x)
        return self.head(x.mean((2, 3)))

    def _taken(self, step: str, layer: Any, norm: nn.Module, x: Tensor) -> Tensor:
        if step.startswith("tokens"):
            return self._tokens(layer, x, first=step.endswith("first") and not self.plainly)
        if step == "constants":
            return layer(self.table).mean(0)[None, :, None, None].expand_as(x)
        if step == "tied":
            return functional.linear(layer(x.mean((2, 3))), layer.weight)[:, :, None, None].expand_as(x)
        if step == "function" and not self.plainly:
            return functional.relu(functional.conv2d(x, layer.weight, layer.bias, padding=1))
        y = layer(input=x) if step == "keyword" and not self.plainly else layer(x)
        if step == "norm":
            return functional.relu(norm(y))
        if step in ("norm elsewhere", "branch"):
            return norm(y) + (y if step == "norm elsewhere" else functional.max_pool2d(y, 3, 1, 1))
        if step == "repeat":
            return layer(functional.relu(y))
        return functional.relu(y) if self.plainly else self.relu_(y)

    def _tokens(self, layer: nn.Module, x: Tensor, *, first: bool) -> Tensor:
        tokens = x.flatten(2).permute(2, 0, 1) if first else x.flatten(2).transpose(1, 2)
        made = functional.gelu(layer(tokens))
        return (made.permute(1, 2, 0) if first else made.transpose(1, 2)).unflatten(2, x.shape[2:])


def _stirred(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.running_mean += 0.3 * torch.randn(8)
    norm.running_var *= 0.5 + torch.rand(8)
    norm.weight.data = 0.5 + torch.rand(8)
    return norm


def batches() -> list[Tensor]:
    return list(IMAGES.split(3))


def table_of(net: nn.Module) -> LayerTable:
    return without_unpaired(read_layers(net, IMAGES[:2], name="n", digest=""), net, batches)


def plan_of(table: LayerTable, *, full: bool) -> Plan:
    """Every layer that can be, at full rank or at about a third of it."""
    ranks = {}
    for layer in table.layers:
        if not (method := method_for(layer, "auto")).refusal(layer) and not layer.end:
            ranks[layer.name] = [r if full else -(-r // 3) for r in max_ranks(layer, method.name)]
    assume(ranks)
    return make_plan(table, "auto", RankRule("manual", ranks=ranks))


NETS = st.builds(Woven, st.lists(st.sampled_from(STEPS), min_size=1, max_size=4).map(tuple), st.integers(0, 99))
WAYS = {
    "of the weights": lambda net, plan: apply_plan(net, plan)[0],
    "calibrated": lambda net, plan: apply_calibrated(net, plan, batches, options=Options())[0],
    "symmetric": lambda net, plan: apply_symmetric(net, plan, batches, len(IMAGES), options=Options())[0],
}


def off(got: Tensor, wanted: Tensor) -> float:
    """Of the spread of what is wanted."""
    return float((got - wanted).norm() / (wanted - wanted.mean(0)).norm().clamp_min(1e-6))


@settings(max_examples=40)
@given(net=NETS)
def test_full_rank_is_dense_and_planned_is_counted(net: Woven) -> None:
    wanted, table = net(IMAGES), table_of(net)
    listed = {layer.name for layer in table.layers}
    assert {"stem", "head", *(f"layers.{i}" for i in range(len(net.steps)))} - listed <= {
        f"layers.{i}" for i, step in enumerate(net.steps) if step == "function"
    }
    assert sum(la.params for la in table.layers) + sum(part.params for part in table.rest) == count_params(net)
    for full in (True, False):
        plan = plan_of(table, full=full)
        for name, way in WAYS.items():
            made = way(net, plan)
            require_replaced(made, IMAGES[:2])
            assert (count_params(made), count_macs(made, IMAGES[:2])) == (plan.params, plan.macs)
            if full:
                assert off(made(IMAGES), wanted) < (1e-3 if name == "of the weights" else 2e-2), name
    assert torch.equal(net(IMAGES), wanted), "the original is not touched"


@settings(max_examples=25)
@given(net=NETS)
def test_a_network_written_in_two_ways_gives_the_same_numbers(net: Woven) -> None:
    twin = copy.deepcopy(net)
    twin.plainly = True
    torch.testing.assert_close(twin(IMAGES), net(IMAGES), rtol=1e-4, atol=1e-5)
    if "function" in net.steps:
        return  # as a function a layer is left alone, as a module it is not
    tables = table_of(net), table_of(twin)
    assert [(la.name, la.macs, la.refusal) for la in tables[0].layers] == [
        (la.name, la.macs, la.refusal) for la in tables[1].layers
    ]
    for name, way in WAYS.items():
        made = [way(each, plan_of(table, full=False)) for each, table in zip((net, twin), tables, strict=True)]
        assert off(made[0](IMAGES), made[1](IMAGES)) < 1e-2, name


@settings(max_examples=25)
@given(net=NETS)
def test_folding_changes_nothing(net: Woven) -> None:
    made, left = folded(net, IMAGES)
    assert off(made(IMAGES), net(IMAGES)) < 1e-4
    assert all(f"norms.{i}" not in left for i, step in enumerate(net.steps) if step == "norm")


@pytest.mark.parametrize(
    "precision, backend", [("fp32", "torch"), ("fp32", "onnxruntime"), ("fp16", "torch"), ("w8", "torch")]
)
@settings(max_examples=6)
@given(net=NETS)
def test_dense_through_a_backend_is_the_model(
    precision: str, backend: str, net: Woven, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("made")
    request = Request(example=IMAGES[:4], calibration=batches, folder=folder, threads=1)
    predict = realise(net, precision, backend, request=request).predict
    got, wanted = predict(IMAGES), net(IMAGES)
    if precision == "fp16":  # whose steps are shares of the values, not of their spread
        assert float((got - wanted).norm() / wanted.norm()) < 2e-3
    else:
        assert off(got, wanted) < {"fp32": 1e-4, "w8": 0.2}[precision]
