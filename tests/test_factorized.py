"""Laws of a factorised layer: it computes what the original would compute with the multiplied-out weight."""

import itertools

import pytest
import torch
from torch import nn

from tdq_core.compression.decompose.modules import apply_plan, factorize
from tdq_core.graph.layer_table import count_macs, count_params, read_layers
from tdq_core.ranks.costs import cost, max_ranks, refusal
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule

RANKS = {"tucker2": (5, 3), "cp": (7,), "svd": (4,), "spatial": (9,)}
STRIDES = (1, 2, (2, 1))
PADDINGS = (0, 1, (2, 0), "same")
DILATIONS = (1, 2, (1, 2))


def conv_cases():
    for method, stride, padding, dilation, bias in itertools.product(
        RANKS, STRIDES, PADDINGS, DILATIONS, (True, False)
    ):
        if padding != "same" or stride == 1:  # torch has no strided 'same'
            yield method, stride, padding, dilation, bias


def dense_with(layer, weight):
    """The original layer with another weight: the plain reference."""
    reference = type(layer).__new__(type(layer))
    reference.__dict__ = dict(layer.__dict__)
    reference._parameters = dict(layer._parameters)
    reference.weight = nn.Parameter(weight.reshape(layer.weight.shape), requires_grad=False)
    return reference


@pytest.mark.parametrize(("method", "stride", "padding", "dilation", "bias"), list(conv_cases()))
def test_forward_equals_the_convolution_with_the_rebuilt_kernel(method, stride, padding, dilation, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, (3, 5), stride, padding, dilation, bias=bias).double()
    made = factorize(conv, method, RANKS[method])
    x = torch.randn(2, 6, 12, 13, dtype=torch.float64)
    torch.testing.assert_close(made.module(x), dense_with(conv, made.factors.to_weight())(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("method", RANKS)
def test_padding_mode_is_carried(method, padding_mode):
    torch.manual_seed(1)
    conv = nn.Conv2d(6, 8, 3, 2, (2, 1), padding_mode=padding_mode).double()
    made = factorize(conv, method, RANKS[method])
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(made.module(x), dense_with(conv, made.factors.to_weight())(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", RANKS)
@pytest.mark.parametrize("stride", STRIDES)
def test_full_rank_gives_back_the_layer_on_the_factorised_path(method, stride):
    torch.manual_seed(2)
    conv = nn.Conv2d(4, 6, 3, stride, 1).double()
    full = cost_layer(conv)
    made = factorize(conv, method, max_ranks(full, method))
    x = torch.randn(3, 4, 10, 10, dtype=torch.float64)
    tolerance = 1e-4 if method == "cp" else 1e-9  # CP is iterative
    torch.testing.assert_close(made.module(x), conv(x), rtol=tolerance, atol=tolerance)
    assert made.rel_error < tolerance


def cost_layer(conv):
    table = read_layers(
        nn.Sequential(conv), torch.randn(1, conv.in_channels, 10, 10).to(conv.weight), name="one", digest=""
    )
    return table.layers[0]


@pytest.mark.parametrize("bias", [True, False])
def test_linear_by_svd(bias):
    torch.manual_seed(3)
    linear = nn.Linear(12, 9, bias=bias).double()
    made = factorize(linear, "svd", (4,))
    x = torch.randn(5, 12, dtype=torch.float64)
    torch.testing.assert_close(made.module(x), dense_with(linear, made.factors.to_weight())(x))
    left, values, right = torch.linalg.svd(linear.weight)  # the independent reference
    best = (left[:, :4] * values[:4]) @ right[:4]
    torch.testing.assert_close(made.factors.to_weight().flatten(1), best)


def small_net():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, (3, 5), stride=(2, 1), padding=(1, 2), bias=False),
        nn.BatchNorm2d(24),
        nn.Conv2d(24, 24, 3, padding=1, groups=4),
        nn.Conv2d(24, 32, 1, stride=2),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 40),
        nn.ReLU(),
        nn.Linear(40, 10),
    ).eval()


@pytest.mark.parametrize("method", ["tucker2", "cp", "svd", "spatial", "auto"])
@pytest.mark.parametrize("keep_ends", [True, False])
def test_planned_costs_equal_those_counted_on_the_built_model(method, keep_ends):
    model, x = small_net(), torch.randn(2, 3, 16, 12)
    table = read_layers(model, x, name="small", digest="")
    plan = make_plan(table, method, RankRule("ratio", 1.3, keep_ends=keep_ends))
    built, made = apply_plan(model, plan)
    assert count_params(built) == plan.params
    assert count_macs(built, x) == plan.macs
    assert list(made) == [part.layer.name for part in plan.decomposed()]
    left = [part for part in plan.layers if part.method == "none"]
    assert all((part.cost.params, part.cost.macs) == (part.layer.params, part.layer.macs) for part in left)


def test_the_original_model_is_not_touched():
    model, x = small_net(), torch.randn(2, 3, 16, 12)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plan = make_plan(read_layers(model, x, name="small", digest=""), "auto", RankRule("ratio", 1.5))
    built, _ = apply_plan(model, plan)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert count_params(built) < count_params(model)


def test_what_cannot_be_carried_is_refused_with_its_reason():
    class Own(nn.Conv2d):
        pass

    shared = nn.Conv2d(4, 4, 3, padding=1)
    twin = nn.Conv2d(4, 4, 3, padding=1)
    twin.weight = shared.weight
    broken = nn.Conv2d(4, 4, 3, padding=1)
    torch.nn.init.constant_(broken.weight, float("nan"))
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, padding=1), Own(8, 4, 3, padding=1), shared, twin, broken)
    table = read_layers(model, torch.randn(1, 4, 6, 6), name="odd", digest="")
    words = ("depthwise", "Own", "shared", "shared", "NaN")
    assert all(word in (layer.refusal or "") for word, layer in zip(words, table.layers, strict=True))
    assert "svd" in (refusal(cost_layer(nn.Conv2d(4, 4, 1)), "tucker2") or "")


def test_a_layer_that_is_called_twice_is_counted_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x))

    model, x = Twice().eval(), torch.randn(1, 8, 6, 6)
    table = read_layers(model, x, name="twice", digest="")
    assert table.layers[0].macs == table.macs == 2 * 8 * 8 * 9 * 36
    plan = make_plan(table, "cp", RankRule("manual", ranks={"conv": 3}))
    assert count_macs(apply_plan(model, plan)[0], x) == plan.macs == 2 * cost(table.layers[0], "cp", (3,)).macs // 2
