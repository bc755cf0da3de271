"""Laws of grouped convolutions: a group is a layer of its own, and the layer is all of them side by side."""

import itertools
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.grouped import dense_twin
from dashboard.facts.planning import layer_rows
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.modules import Factorized, apply_plan, factorize
from tdq_core.compression.decompose.spectra import with_weight_spectra
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.compression.quantize import Request, realise
from tdq_core.errors import InputError, Refused
from tdq_core.graph.layer_table import count_macs, count_params, read_layers
from tdq_core.layers.methods import METHODS, Method
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.allocate import tails
from tdq_core.ranks.costs import max_ranks
from tdq_core.ranks.modes import evbmf_modes
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import LayerRecord
from tdq_core.specs import RankRule

RANKS = {"tucker2": (3, 2), "cp": (5,), "svd": (3,)}
GROUPS = 4
GEOMETRY = [
    {"stride": stride, "padding": padding, "dilation": dilation}
    for stride, padding, dilation in itertools.product((1, (2, 1)), (0, (2, 1), "same"), (1, (1, 2)))
    if padding != "same" or stride == 1
]


def grouped_conv(c_in: int = 24, c_out: int = 32, kernel: object = (3, 5), **more: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(c_in, c_out, kernel, **{"groups": GROUPS, **more}).double()  # type: ignore[arg-type]


def read(module: nn.Module, size: tuple[int, ...]) -> LayerTable:
    return read_layers(module, torch.zeros(size).to(next(module.parameters())), name="net", digest="")


def only_layer(conv: nn.Conv2d) -> Layer:
    return with_weight_spectra(read(nn.Sequential(conv), (1, conv.in_channels, 9, 9)), nn.Sequential(conv)).layers[0]


def with_weight(conv: nn.Conv2d, weight: Tensor) -> nn.Conv2d:
    """The convolution without groups that computes what `conv` computes with `weight` in place of its own."""
    twin = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
                     conv.groups, conv.bias is not None, conv.padding_mode).double()  # fmt: skip
    twin.load_state_dict(conv.state_dict() | {"weight": weight})
    return dense_twin(twin)


@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
@pytest.mark.parametrize("method", RANKS)
def test_forward_equals_the_block_diagonal_convolution_with_the_rebuilt_kernel(method, geometry):
    for bias in (True, False):
        conv = grouped_conv(bias=bias, **geometry)
        made = factorize(conv, method, RANKS[method])
        x = torch.randn(2, 24, 11, 12, dtype=torch.float64)
        dense = with_weight(conv, made.factors.to_weight())
        assert dense.groups == 1
        torch.testing.assert_close(made.module(x), dense(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("method", RANKS)
def test_padding_mode_is_carried(method, padding_mode):
    conv = grouped_conv(kernel=3, stride=2, padding=(2, 1), padding_mode=padding_mode)
    made = factorize(conv, method, RANKS[method])
    x = torch.randn(2, 24, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(made.module(x), with_weight(conv, made.factors.to_weight())(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["tdq", "tensorly"])
@pytest.mark.parametrize("method", RANKS)
def test_each_group_has_the_factors_of_its_own_kernel(method, solver):
    conv, options = grouped_conv(kernel=3), Options(solver=solver)
    made = factorize(conv, method, RANKS[method], options=options)
    solve, kernels = IMPLEMENTATIONS[method].decompose[solver], conv.weight.detach().chunk(GROUPS)
    alone = torch.cat([solve(kernel, RANKS[method], options).to_weight() for kernel in kernels])
    torch.testing.assert_close(made.factors.to_weight(), alone, rtol=1e-9, atol=1e-9)
    assert made.rel_error == pytest.approx(rel_error(conv.weight.detach(), alone))


@pytest.mark.parametrize("method", RANKS)
@pytest.mark.parametrize(("c_in", "c_out"), [(8, 16), (16, 8), (8, 4)])  # with 4 outputs each group has a single one
def test_full_ranks_of_each_group_give_the_layer_back(method, c_in, c_out):
    conv = grouped_conv(c_in, c_out, 3, padding=1)
    made = factorize(conv, method, max_ranks(only_layer(conv), method))
    x = torch.randn(2, c_in, 8, 8, dtype=torch.float64)
    tolerance = 1e-3 if method == "cp" else 1e-9
    torch.testing.assert_close(made.module(x), conv(x), rtol=tolerance, atol=tolerance)


def net() -> nn.Module:
    torch.manual_seed(4)
    layers = [
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=(2, 1), padding=1, groups=2, bias=False),
        nn.BatchNorm2d(32),
        nn.Conv2d(32, 48, 1, groups=4),
        nn.ReLU(),
        nn.Conv2d(48, 48, 3, padding=1, groups=48),
        nn.Conv2d(48, 60, (3, 1), dilation=(2, 1), padding=(2, 0), groups=6),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(240, 10),
    ]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers).eval().requires_grad_(False)


RULES = [RankRule("ratio", 1.2), RankRule("ratio", 1.2, policy="global", keep_ends=False),
         RankRule("ratio", 1.1, policy="later", budget="macs"), RankRule("energy", 0.7),
         RankRule("manual", ranks={"2": 3, "7": 1, "4": 2})]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind}-{rule.policy}")
@pytest.mark.parametrize("method", [*METHODS])
def test_planned_is_what_is_counted_and_what_is_stored(method, rule, tmp_path):
    model, x = net(), torch.randn(2, 3, 12, 10)
    table = with_weight_spectra(read(model, (2, 3, 12, 10)), model)
    described = METHODS[method]
    if rule.policy == "global" and isinstance(described, Method) and not described.predicts:
        pytest.skip("no spectrum predicts its error")
    if not isinstance(described, Method) and described.among and rule.policy != "global":
        pytest.skip("it goes with policies that find forms")
    plan = make_plan(table, method, rule)
    built, made = apply_plan(model, plan)
    assert (count_params(built), count_macs(built, x)) == (plan.params, plan.macs)
    assert "2" in made and "6" not in made  # grouped; depthwise
    assert built.get_submodule("2")[-1].groups == 2
    stored = load_file(realise(built, "fp32", "torch", request=Request(x, None, tmp_path)).path)
    assert sum(stored[name].numel() for name, _ in built.named_parameters()) == plan.params


def test_a_ratio_of_a_grouped_network_takes_its_grouped_layers():
    table = read(net(), (2, 3, 12, 10))
    assert {p.layer.name for p in make_plan(table, "auto", RankRule("ratio", 1.2)).decomposed()} == {"2", "4", "7"}


def test_depthwise_is_refused_by_name_and_groups_that_leave_nothing_to_gain_are_said():
    odd = nn.Sequential(nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 12, 1, groups=6), nn.Conv2d(12, 24, 3))
    table = read(odd.eval(), (1, 6, 9, 9))
    depthwise, tiny, plain = table.layers
    assert "depthwise" in str(depthwise.refusal) and "6 groups" in str(depthwise.refusal)
    assert (tiny.refusal, plain.refusal) == (None, None)
    reasons = {
        p.layer.name: p.skipped_because for p in make_plan(table, "svd", RankRule("ratio", 1.1, keep_ends=False)).layers
    }
    assert reasons["1"] == "no rank saves params: its 6 groups are too small"
    with pytest.raises(Refused, match="depthwise"):
        make_plan(LayerTable("n", "", 1000, 1000, (depthwise,)), "svd", RankRule("ratio", 1.1, keep_ends=False))


def test_words_tell_that_ranks_are_of_each_group():
    layer = only_layer(grouped_conv(kernel=3))
    assert layer.shape_text == "24→32 3x3, 4 groups"
    method = METHODS["tucker2"]
    assert isinstance(method, Method) and method.names_of_ranks(layer) == ("rank out (a group)", "rank in (a group)")
    assert method.names_of_ranks(layer.one_group) == method.rank_names
    table = LayerTable("n", "", layer.params, layer.macs, (layer,))
    plan = make_plan(table, "tucker2", RankRule("manual", ranks={layer.name: (3, 2)}))
    assert "tucker2 3 x 2 a group" in str(plan)
    (row,) = layer_rows(table, plan)
    assert (row["shape"], row["ranks"]) == ("24→32 3x3, 4 groups", "3 x 2 a group")
    kept = {"params": 1, "macs": 1, "dense_params": 2, "dense_macs": 2, "method": "tucker2", "ranks": (3, 2)}
    assert LayerRecord(name="a", **kept, detail={"groups": 4}).ranks_text == "3 x 2 a group"
    assert LayerRecord(name="a", **kept).ranks_text == "3 x 2"
    with pytest.raises(InputError, match=r"rank of each of the 4 groups .* \[1, 8\] and \[1, 6\]. Got \[9, 2\]"):
        make_plan(table, "tucker2", RankRule("manual", ranks={layer.name: (9, 2)}))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_spectra_of_groups_predict_the_error_of_all_at_one_rank(rank):
    conv = grouped_conv(kernel=3)
    conv.weight.data *= torch.logspace(-1, 0, 32)[:, None, None, None]  # groups of unequal size
    layer = only_layer(conv)
    assert len(layer.spectrum_out) == 8 and len(layer.spectrum_in) == 6
    assert sum(layer.spectrum_out) == pytest.approx(float(conv.weight.detach().square().sum()))
    lost = [float(tails(s, 8)[rank]) for s in (layer.spectrum_out, layer.spectrum_in)]
    assert factorize(conv, "svd", (rank,)).rel_error ** 2 == pytest.approx(lost[0])
    assert factorize(conv, "tucker2", (rank, rank)).rel_error ** 2 <= sum(lost) + 1e-9


def test_evbmf_finds_the_rank_that_every_group_has():
    torch.manual_seed(0)
    signal = torch.einsum("gor,grc->goc", torch.randn(8, 16, 3), torch.randn(8, 3, 16 * 9)).reshape(128, 16, 3, 3)
    conv = nn.Conv2d(128, 128, 3, groups=8)
    conv.weight.data = signal + 0.3 * torch.randn_like(signal)
    assert evbmf_modes(only_layer(conv))[0] == 3


def test_what_is_told_of_a_layer_is_of_all_its_groups():
    conv = grouped_conv(kernel=3)
    conv.weight.data *= torch.logspace(-1, 0, 32)[:, None, None, None]
    squares = torch.stack([kernel.square().sum() for kernel in conv.weight.detach().chunk(GROUPS)])
    starts = torch.tensor([factorize(one, "tucker2", (3, 2)).details[0].hosvd_error for one in singles(conv)])
    whole = float((squares * starts.square()).sum() / squares.sum()) ** 0.5
    assert told(factorize(conv, "tucker2", (3, 2)))["hosvd_error"] == pytest.approx(whole)
    cp = factorize(conv, "cp", RANKS["cp"])
    parts = [torch.stack([f.norm(dim=0) for f in (p.out, p.in_, p.spatial)]) for p in cp.factors.parts]
    norms = torch.cat([part.prod(0) for part in parts]) / conv.weight.detach().norm()
    told_of_cp = told(cp)
    assert told_of_cp["als_error"] == pytest.approx(cp.rel_error, rel=1e-6) and told_of_cp["groups"] == GROUPS
    assert told_of_cp["largest_component"] == pytest.approx(float(norms.max()))
    assert told_of_cp["smallest_component"] == pytest.approx(float(norms.min()))
    assert told_of_cp["log10_norms"] == pytest.approx(math.log10(float(norms.square().sum())))


def told(made: Factorized) -> dict[str, object]:
    return {name: getattr(each, name) for each in made.details for name in each.__struct_fields__}


def singles(conv: nn.Conv2d) -> list[nn.Conv2d]:
    """Each group as a layer of its own."""
    made = []
    for kernel in conv.weight.detach().chunk(conv.groups):
        one = nn.Conv2d(kernel.shape[1], kernel.shape[0], conv.kernel_size, bias=False).double()
        one.weight.data = kernel
        made.append(one)
    return made


@pytest.mark.parametrize(("precision", "backend"), [("int8", "torch"), ("int8", "onnxruntime"), ("w8a8", "torch")])
def test_integers_come_near_the_float_network(precision, backend, tmp_path):
    model, x = net(), torch.randn(16, 3, 12, 10)
    plan = make_plan(read(model, (2, 3, 12, 10)), "auto", RankRule("ratio", 1.2))
    built, _ = apply_plan(model, plan)
    request = Request(x, lambda: iter([x]), tmp_path)
    predict = realise(built, precision, backend, request=request).predict
    logits = built(x)
    assert float((predict(x) - logits).norm()) < 0.25 * float((logits - logits.mean(0)).norm())
