"""A grouped layer fitted to outputs is its groups fitted one by one, however the network is written."""

from pathlib import Path

import pytest
import torch
from made_layers import normal, told
from torch import Tensor, nn

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.spectra import with_output_spectra
from tdq_core.compression.calibrate.sums import collect
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import RankRule

GROUPS = 3
RANKS = {"tucker2": (3, 2), "cp": (4,), "svd": (2,)}
IMAGES = normal(24, 3, 10, 10, seed=5) * torch.linspace(0.5, 2, 24)[:, None, None, None]


def batches() -> list[Tensor]:
    return list(IMAGES.split(7))


class Net(nn.Module):
    """A 3x3 convolution of three groups; `apart` holds it as three convolutions on a third of the channels each."""

    def __init__(self, *, apart: bool, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        conv = nn.Conv2d(12, 18, 3, 2, 1, groups=GROUPS, bias=not norm)
        conv.weight.data *= torch.logspace(-0.5, 0.5, 18)[:, None, None, None]
        parts = [nn.Conv2d(4, 6, 3, 2, 1) for _ in range(GROUPS)]
        for n, part in enumerate(parts):
            part.weight.data = conv.weight.detach().chunk(GROUPS)[n].clone()
            if conv.bias is not None:
                part.bias.data = conv.bias.detach().chunk(GROUPS)[n].clone()
        self.convs = nn.ModuleList(parts if apart else [conv])
        self.norm = nn.BatchNorm2d(18) if norm else nn.Identity()
        if norm:
            self.norm.running_mean += 0.3 * torch.randn(18)
            self.norm.running_var *= 0.5 + torch.rand(18)
        self.head = nn.Linear(18, 5)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        parts = x.chunk(len(self.convs), 1)
        made = [conv(part) for conv, part in zip(self.convs, parts, strict=True)]
        x = torch.cat(made, 1) if len(made) > 1 else made[0]  # a norm must see who made what it takes
        return self.head(torch.relu(self.norm(x)).mean((2, 3)))


def plan_of(model: nn.Module, method: str) -> Plan:
    table = read_layers(model, IMAGES[:2], name="n", digest="")
    names = [layer.name for layer in table.layers if layer.name.startswith("convs")]
    return make_plan(table, method, RankRule("manual", ranks=dict.fromkeys(names, RANKS[method])))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("method", RANKS)
def test_groups_are_fitted_as_layers_of_their_own_are(method: str, symmetric: bool) -> None:
    made = []
    for apart in (True, False):
        model = Net(apart=apart)
        plan, options = plan_of(model, method), Options(eta=0.1 if method == "cp" else None)
        if symmetric:
            made.append(apply_symmetric(model, plan, batches, len(IMAGES), options=options))
        else:
            made.append(apply_calibrated(model, plan, batches, options=options))
        assert count_params(made[-1][0]) == plan.params
    (several, layers), (one, (layer,)) = made[0], (made[1][0], made[1][1].values())
    for name, stage in one.convs[0].named_children():
        parts = [part.get_submodule(name) for part in several.convs]
        torch.testing.assert_close(stage.weight, torch.cat([part.weight for part in parts]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one(IMAGES), several(IMAGES), rtol=1e-4, atol=1e-5)
    alone = [told(each) for each in layers.values()]
    assert told(layer)["sweeps"] == max(each["sweeps"] for each in alone)
    assert min(e["output_error"] for e in alone) < told(layer)["output_error"] < max(e["output_error"] for e in alone)


@pytest.mark.parametrize("method", RANKS)
def test_with_a_batch_norm_it_loses_less_than_by_the_weights_and_gives_means_back(method: str) -> None:
    model = Net(apart=False, norm=True)
    plan = plan_of(model, method)
    made, layers = apply_calibrated(model, plan, batches, options=Options())

    def missed(other: nn.Module) -> float:
        return float((other(IMAGES) - model(IMAGES)).square().sum())

    assert missed(made) < 0.5 * missed(apply_plan(model, plan)[0])
    assert told(layers["convs.0"])["mean_taken_by"] == "batch norm"
    before, after = ((net.norm(conv(x)).mean((0, 2, 3))) for net, conv, x in (
        (m, m.convs[0], torch.relu(m.first(IMAGES))) for m in (model, made)))  # fmt: skip
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["tucker2", "svd"])
def test_full_ranks_of_each_group_give_the_layer_back(method: str) -> None:
    model = Net(apart=False, norm=True)
    table = read_layers(model, IMAGES[:2], name="n", digest="")
    plan = make_plan(table, method, RankRule("manual", ranks={"convs.0": (6, 4) if method == "tucker2" else 6}))
    for made, _ in (
        apply_calibrated(model, plan, batches, options=Options()),
        apply_symmetric(model, plan, batches, len(IMAGES), options=Options()),
    ):
        torch.testing.assert_close(made(IMAGES), model(IMAGES), rtol=1e-3, atol=1e-3)


def test_spectra_of_outputs_are_the_groups_summed_and_sums_are_read_again_from_the_disk(tmp_path: Path) -> None:
    tables = []
    for apart in (True, False):
        model, folder = Net(apart=apart), tmp_path / str(apart)
        table = read_layers(model, IMAGES[:2], name="n", digest="")
        tables.append(with_output_spectra(table, model, batches, len(IMAGES), folder=folder))
    several = [layer for layer in tables[0].layers if layer.name.startswith("convs")]
    one = tables[1].layer("convs.0")
    for name in ("spectrum_out", "spectrum_in"):
        summed = torch.tensor([getattr(layer, name) for layer in several]).sum(0)
        torch.testing.assert_close(torch.tensor(getattr(one, name)), summed, rtol=1e-4, atol=1e-6)
    model = Net(apart=False)
    others = lambda: iter([torch.zeros_like(IMAGES)])  # noqa: E731
    kept = collect(model, ["convs.0"], others, len(IMAGES), folder=tmp_path / "False")
    fresh = collect(model, ["convs.0"], batches, len(IMAGES))
    assert [len(sums["convs.0"]) for sums in (kept, fresh)] == [GROUPS, GROUPS]
    for one_kept, one_fresh in zip(kept["convs.0"], fresh["convs.0"], strict=True):
        assert one_kept.count == one_fresh.count and torch.equal(one_kept.inputs, one_fresh.inputs)
