"""Budgets in bytes: what is planned is what the file has, whatever the network, and ratios are kept."""

import contextlib
import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.compression.quantize import Request, realise
from tdq_core.compression.quantize.file_parts import with_files
from tdq_core.compression.quantize.rounding_costs import with_weight_rounding
from tdq_core.compression.quantize.simulated_file import load_simulated
from tdq_core.errors import InputError, Refused
from tdq_core.graph.layer_table import read_layers
from tdq_core.layers.methods import METHODS, Method
from tdq_core.layers.table import BITS, Change, Layer, LayerTable
from tdq_core.ranks.allocate import front
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.packed import END_BITS
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec
from tdq_core.specs.choices import POLICIES

SIZE = 8


class Twice(nn.Module):
    """A layer that runs twice in a pass, a norm that nothing folds, and a head that no image reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.GroupNorm(3, 12)
        self.body = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.fc = nn.Linear(12, 10)
        self.unused = nn.Linear(12, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.fc(torch.relu(self.body(torch.relu(self.body(x)))).mean((2, 3)))


class OwnConv(nn.Conv2d):
    """Behaves as it likes: it stays in floats."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


NETS = {
    "folded norms": lambda: nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), *head(24)),
    "norms first": lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False), *head(16)),
    "groups": lambda: nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 3, groups=2), nn.ReLU(),
        nn.Conv2d(32, 32, 3, groups=32), nn.ReLU(), nn.Conv2d(32, 16, (3, 1), bias=False), *head(16)),
    "no linear layer": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Conv2d(16, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "linear layers": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 40), nn.ReLU(), nn.Linear(40, 10)),
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 10)),
    "a layer of its own kind": lambda: nn.Sequential(nn.Conv2d(3, 16, 3), OwnConv(16, 16, 3), nn.ReLU(),
        nn.Conv2d(16, 12, 3), *head(12)),
    "twice, and not at all": Twice,
}  # fmt: skip


def net_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[kind]().eval()


def images(count: int) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def table_of(net: nn.Module) -> LayerTable:
    table = read_layers(net, images(2), name="net", digest="")
    return with_weight_rounding(with_files(table, net, images(2)), net)


def by_hand(table: LayerTable, method: str) -> RankRule:
    """The smallest ranks in every layer that can take them."""
    ranks = {la.name: 2 for la in table.layers if not la.refusal and min(la.one_group.c_out, la.one_group.c_in) > 2}
    return RankRule("manual", ranks=ranks)


@pytest.mark.parametrize("method", ["none", "tucker2", "cp", "auto"])
@pytest.mark.parametrize("kind", NETS)
def test_what_is_planned_is_what_the_file_has(kind, method, tmp_path):
    net = net_of(kind)
    table = table_of(net)
    numbers = itertools.cycle([PrecisionSpec("w4a8"), PrecisionSpec("w3"), PrecisionSpec("w8a8", granularity="tensor")])
    for precision in itertools.islice(numbers, 3):
        rule = None if method == "none" else by_hand(table, method)
        try:
            plan = make_plan(table, method, rule, precision)
        except Refused:
            return
        module = apply_plan(net, plan)[0] if plan.decomposed() else net
        request = Request(images(4), lambda: [images(8)], tmp_path, granularity=precision.granularity)
        artefact = realise(module, precision.name, "torch", request=request)
        assert artefact.bytes == plan.bytes


@pytest.mark.parametrize("kind", NETS)
def test_the_dense_file_is_known_before_it_is_written(kind, tmp_path):
    net = net_of(kind)
    assert realise(net, "fp32", "torch", request=Request(images(4), None, tmp_path)).bytes == table_of(net).files.fp32


def chain() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((3, 24, 32, 40, 48, 48)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, *head(48)).eval()


@pytest.fixture(scope="module")
def chained() -> LayerTable:
    rng = torch.Generator().manual_seed(0)
    table = table_of(chain())

    def falling(layer: Layer) -> Layer:
        one = layer.one_group
        sides = (min(one.c_out, one.c_in * one.taps), min(one.c_in, one.c_out * one.taps))
        spectra = [torch.sort(0.8 ** torch.arange(n) * (0.5 + torch.rand(n, generator=rng)), descending=True)[0]
                   for n in sides]  # fmt: skip
        out, in_ = (tuple(values.tolist()) for values in spectra)
        forms = (Change("none", (), (), 0.0), Change("tucker2", (1e-4, 2.0), (1e-5, 0.2), 0.0))
        return dataclasses.replace(layer, spectrum_out=out, spectrum_in=in_, changes=forms)

    return dataclasses.replace(table, layers=tuple(map(falling, table.layers)))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize(("name", "ratio"), [("w4a8", 9.0), ("w8", 6.0), ("w3a8", 12.0)])
def test_every_policy_keeps_the_bytes(chained, policy, multiple, name, ratio):
    rule = RankRule("ratio", ratio, policy=policy, budget="bytes", multiple=multiple)
    try:
        plan = make_plan(chained, "tucker2", rule, PrecisionSpec(name))
    except Refused as refusal:
        assert policy == "vbmf" and "out of reach" in str(refusal)
        return
    assert chained.files.fp32 / plan.bytes >= ratio
    if policy == "uniform" and multiple == 1:
        assert chained.files.fp32 / plan.bytes < 1.02 * ratio
    assert not any(r % multiple for part in plan.decomposed() for r in part.ranks)


def test_ratios_of_bytes_that_are_no_task_are_refused_with_the_way_out(chained):
    def ask(ratio: float, name: str = "w4") -> None:
        make_plan(chained, "tucker2", RankRule("ratio", ratio, budget="bytes"), PrecisionSpec(name))

    with pytest.raises(Refused, match=r"of bytes leaves nothing to decompose.*times smaller at 'w4' already"):
        ask(2.0)
    with pytest.raises(Refused, match=r"of bytes is out of reach.*gives") as refused:
        ask(500.0)
    reach = float(str(refused.value).split("gives ")[1].split(". ")[0])
    ask(reach * 0.99)


def test_bytes_are_those_of_simulated_bits_and_of_a_table_that_knows_them(chained):
    rule = RankRule("ratio", 8, budget="bytes")
    for name in ("fp32", "fp16", "int8"):
        with pytest.raises(InputError, match=f"packed file of simulated bits.*Got the precision '{name}'"):
            make_plan(chained, "tucker2", rule, PrecisionSpec(name))
        with pytest.raises(InputError, match=f"Got the precision '{name}'"):
            RunSpec.of("digits_resnet", "digits", method="tucker2", rule=rule, precision=name)
    with pytest.raises(InputError, match="read the layers anew"):
        make_plan(dataclasses.replace(chained, files=None), "tucker2", rule, PrecisionSpec("w4"))


AUTO = RankRule("ratio", 10, budget="bytes", policy="global")


def predicted(part, bits: int) -> float:
    """The error that ranks and bits of a layer are chosen by."""
    spectra = zip((part.layer.spectrum_out, part.layer.spectrum_in), part.ranks, strict=False)
    lost = sum(sum(s[r:]) / sum(s) for s, r in spectra)
    stages = 3 if part.method != "none" else 1
    own = END_BITS if part.layer.end else bits
    return lost + stages * part.layer.rounding[BITS.index(own)] * max(0.0, 1 - lost)


@pytest.mark.parametrize("ratio", [6.0, 9.0, 13.0])
@pytest.mark.parametrize("multiple", [1, 4])
def test_bits_and_ranks_together_are_predicted_to_lose_no_more_than_any_single_bits(chained, ratio, multiple):
    rule = RankRule("ratio", ratio, budget="bytes", policy="global", multiple=multiple)
    best = make_plan(chained, "tucker2", rule, PrecisionSpec("w8a8", bits="auto"))
    assert chained.files.fp32 / best.bytes >= ratio
    assert all(part.bits in BITS for part in best.layers)
    assert [p.bits for p in best.layers if p.layer.end] == [END_BITS, END_BITS]
    assert not any(r % multiple for part in best.decomposed() for r in part.ranks)
    least = sum(predicted(part, part.bits) for part in best.layers)
    for bits in (8, 4, 3):
        with contextlib.suppress(Refused):
            one = make_plan(chained, "tucker2", rule, PrecisionSpec(f"w{bits}a8"))
            assert least <= sum(predicted(part, bits) for part in one.layers) + 1e-9


def test_fewer_bits_are_had_for_less_and_lose_more(chained):
    for layer in chained.layers:
        assert all(a < b for a, b in itertools.pairwise(layer.rounding))
    found = front(chained.layers[2], "tucker2", Budget(chained, AUTO, PrecisionSpec("w8a8", bits="auto")))
    assert {8, 6, 4} <= set(found.bits) and found.ranks[-1] == () and found.bits[-1] == 8
    at_most = front(chained.layers[2], "tucker2", Budget(chained, AUTO, PrecisionSpec("w4a8", bits="auto")))
    assert set(at_most.bits) == {4, 3}


@pytest.mark.parametrize(
    "changed",
    [{"precision": "int8"}, {"precision": "w3a8"}, {"precision": "w2"}, {"finetune": 10},
     {"rule": RankRule("ratio", 8, budget="bytes")}, {"rule": RankRule("ratio", 8, policy="global")},
     {"rule": RankRule("energy", 0.9)}, {"method": "none", "rule": None}],
)  # fmt: skip
def test_bits_that_cannot_be_chosen_are_one_sentence(changed):
    asked = {"method": "tucker2", "rule": AUTO, "precision": "w8a8", "bits": "auto"}
    RunSpec.of("digits_resnet", "digits", **asked)
    with pytest.raises(InputError, match=r"'bits' auto|packed file of simulated bits") as told:
        RunSpec.of("digits_resnet", "digits", **(asked | changed))
    assert "\n" not in str(told.value)


def test_no_spectrum_predicts_cp_at_any_bits(chained):
    with pytest.raises(InputError, match="no spectrum predicts that of CP"):
        make_plan(chained, "cp", AUTO, PrecisionSpec("w8a8", bits="auto"))
    with pytest.raises(InputError, match=r"that of CP\..*ask for tucker2 or svd or auto, or .* bits by hand") as told:
        RunSpec.of("digits_resnet", "digits", method="cp", rule=AUTO, precision="w8a8", bits="auto")
    assert "\n" not in str(told.value)


def test_every_layer_of_the_file_has_its_bits_and_is_read_again(chained, tmp_path):
    net = chain()
    plan = make_plan(chained, "tucker2", AUTO, PrecisionSpec("w8a8", bits="auto"))
    module = apply_plan(net, plan)[0]
    bits = {part.layer.name: part.bits for part in plan.layers}
    assert len(set(bits.values())) > 1
    for aware in (False, True):
        request = Request(images(4), lambda: [images(16)], tmp_path / str(aware), bits=bits, aware=aware)
        artefact = realise(module, "w8a8", "torch", request=request)
        assert artefact.bytes == plan.bytes
        stored = load_simulated(artefact.path).weights
        assert {name: weight.bits for name, weight in stored.items()} == artefact.details["weight_bits"]
        for part in plan.layers:
            own = [w for name, w in stored.items() if name == part.layer.name or name.startswith(f"{part.layer.name}.")]
            assert [w.bits for w in own] == [part.bits] * len(own)
            assert all(int(w.integers.abs().max()) <= 2 ** (w.bits - 1) - 1 for w in own)


def test_stages_have_the_same_names_in_plans_and_in_files():
    layer = Layer("x", "conv", 8, 6, (3, 3), 4, 4, False)
    for name, described in METHODS.items():
        if isinstance(described, Method):
            stages = described.stages(layer, described.max_ranks(layer))
            assert tuple(stage.name for stage in stages) == IMPLEMENTATIONS[name].stages
