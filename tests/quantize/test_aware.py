"""Quantization-aware rounding of whole networks: closer to the floats than nearest points; the file is what runs."""

import pytest
import torch
from quantize_nets import images
from test_simulated import folded_net, read, rounded_by_hand
from torch import Tensor, nn

from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import factorize
from tdq_core.compression.quantize import realise
from tdq_core.compression.quantize.aware.in_turn import settle_on_grids
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import InputError
from tdq_core.graph.modules import plain_layers
from tdq_core.specs import RankRule, RunSpec


class Wired(nn.Module):
    """Layers of every wiring: in-place activations, one called twice, two with one weight, tokens, groups, no bias."""

    def __init__(self, middle: nn.Module | None = None, *, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = middle or nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.twice = nn.Conv2d(8, 8, 1)
        self.one, self.other = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.other.weight = self.one.weight
        self.tokens = nn.Linear(8, 8, bias=False)
        self.head = nn.Linear(8, 5)
        self.relu = nn.ReLU(inplace)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(self.middle(x)) + x
        x = self.relu(self.twice(self.relu(self.twice(x))))
        x = self.relu(self.other(self.one(x)))
        return self.head(self.tokens(x.flatten(2).transpose(1, 2)).mean(1))


def wired(method: str | None = None, *, groups: int = 1, inplace: bool = True) -> nn.Module:
    torch.manual_seed(3)
    middle = None
    if method:
        layer = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
        ranks = {"cp": (6,), "tucker2": (3, 3), "svd": (3,)}[method]
        middle = factorize(layer, method, ranks, options=Options()).module
    torch.manual_seed(4)
    return Wired(middle, inplace=inplace).eval()


def apart(net: nn.Module, artefact) -> float:
    batch = images(100, seed=7)
    with torch.inference_mode():
        return float((artefact.predict(batch) - net(batch)).square().mean())


@pytest.mark.parametrize("precision", ("w2", "w3a8", "w4a4", "w8"))
def test_what_runs_is_what_the_file_holds(make_request, net, precision):
    artefact = realise(net, precision, "torch", request=make_request(aware=True))
    batch = images(200, seed=4)
    with torch.inference_mode():
        expected, exact = rounded_by_hand(folded_net(), artefact.path)(batch), net(batch)
    assert (artefact.predict(batch) - expected).abs().mean() <= 0.02 * (expected - exact).abs().mean()
    assert artefact.details["weights_check"]["largest_offset_in_steps"] <= 1e-3


@pytest.mark.parametrize("granularity", ("channel", "tensor"))
@pytest.mark.parametrize("middle", (None, ("cp", 1), ("cp", 2), ("tucker2", 1), ("tucker2", 2), ("svd", 1)))
@pytest.mark.parametrize("precision", ("w3", "w4a4"))
def test_closer_to_the_floats_than_the_nearest_points(make_request, precision, middle, granularity):
    net = wired(middle and middle[0], groups=middle[1] if middle else 1)
    far, near = (
        realise(net, precision, "torch", request=make_request(aware=aware, granularity=granularity))
        for aware in (False, True)
    )
    assert apart(net, near) < 0.8 * apart(net, far)
    assert near.bytes - far.bytes < 500  # the same numbers, and a little more said of them


def test_activations_that_work_in_place_change_nothing(make_request):
    images_ = images(64, seed=3)
    found = []
    for inplace in (True, False):
        net = wired("cp", inplace=inplace)
        layers = plain_layers(net)
        found.append(settle_on_grids(net, layers, {name: Scheme(3, 8) for name in layers}, images_))
    for name, rounded in found[0].weights.items():
        assert torch.equal(rounded.integers, found[1].weights[name].integers)
    assert found[0].grids == found[1].grids


def test_layers_with_one_weight_keep_one_weight_and_the_record_says_so(make_request):
    artefact = realise(wired(), "w4a8", "torch", request=make_request(aware=True))
    assert artefact.details["rounded_to_nearest"].keys() == {"one", "other"}
    assert any("'other' is rounded to the nearest point all the same" in note for note in artefact.notes)


def test_each_call_has_its_own_grid():
    net = wired()
    layers = plain_layers(net)
    settled = settle_on_grids(net, layers, {name: Scheme(4, 4) for name in layers}, images(32, seed=3))
    assert {name: len(grids) for name, grids in settled.grids.items()} == dict.fromkeys(layers, 1) | {"twice": 2}


def test_the_network_in_hand_is_not_changed(make_request):
    net = wired("cp")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    realise(net, "w3a8", "torch", request=make_request(aware=True))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_without_images_it_is_refused(make_request, net):
    with pytest.raises(InputError, match="needs calibration images"):
        realise(net, "w4", "torch", request=make_request(aware=True, calibration=None))


@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
def test_only_simulated_bits_are_found_so(make_request, net, precision):
    with pytest.raises(InputError, match="simulated bits"):
        realise(net, precision, "torch", request=make_request(aware=True))


@pytest.mark.parametrize(
    "options",
    (
        {"precision": "int8"},
        {"precision": "w4a8", "ranges": "mse"},
        {"precision": "w4a8", "inner_bits": 8},
        {"precision": "w4", "inner_bits": 8, "method": "cp", "rule": RankRule("ratio", 2.0)},
        {"precision": "w4", "finetune": 5, "method": "cp", "rule": RankRule("ratio", 2.0)},
    ),
)
def test_a_run_says_what_does_not_go_together(options):
    with pytest.raises(InputError, match="quantization_aware"):
        RunSpec.of("digits_resnet", "digits", quantization_aware=True, **options)


def test_it_is_part_of_a_runs_name_and_asks_for_calibration_images():
    plain = RunSpec.of("digits_resnet", "digits", precision="w4")
    aware = plain.changed(quantization_aware=True)
    assert "quantization_aware" not in plain.to_dict() and not plain.needs_calibration and aware.needs_calibration
    assert plain.run_id({}) != aware.run_id({})


@pytest.mark.parametrize("method", ("cp", "tucker2", "svd"))
def test_activations_inside_decomposed_layers_keep_their_bits(make_request, method):
    net = wired(method)
    plain, more = (realise(net, "w4a4", "torch", request=make_request(aware=True, inner_bits=b)) for b in (None, 8))
    bits = read(more.path)[1]["activations"]
    stages = [f"middle.{name}" for name, _ in net.middle.named_children()]
    assert [bits[name] for name in stages] == [4, *[8] * (len(stages) - 1)]
    assert more.details["inner_activation_bits"] == 8 and more.details["inputs_with_inner_bits"] == len(stages) - 1
    assert "inner_activation_bits" not in plain.details
    assert plain.details["activations"] == "uint4, per tensor, least squared error"
