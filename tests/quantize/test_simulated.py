"""Simulated bits: what is in the file, that the file is what runs, and what it costs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from packed_reader import read
from quantize_nets import SmallNet, images, small_net
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tdq_core.compression.quantize import realise
from tdq_core.graph.agreement import compare
from tdq_core.specs.precision import simulated

SIMULATED = simulated()
ENDS = ("stem.0", "head")
WITH_ACTIVATIONS = [precision for precision in SIMULATED if "a" in precision]


def bits_of(precision: str, layer: str) -> int:
    return 8 if layer in ENDS else int(precision[1])


def folded_net() -> SmallNet:
    """The small network with its batch norms folded by torch's own fusion, by hand."""
    net = small_net()
    net.stem[0], net.stem[1] = fuse_conv_bn_eval(net.stem[0], net.stem[1]), nn.Identity()
    net.block.conv1, net.block.bn1 = fuse_conv_bn_eval(net.block.conv1, net.block.bn1), nn.Identity()
    net.block.conv2[2], net.block.bn2 = fuse_conv_bn_eval(net.block.conv2[2], net.block.bn2), nn.Identity()
    return net


def layers_of(net: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def integers(packed: Tensor, bits: int, shape: list[int]) -> np.ndarray:
    """Unpacked by way of one long text of noughts and ones."""
    text = "".join(f"{byte:08b}" for byte in packed.tolist())
    values = [int(text[bits * at : bits * (at + 1)], 2) - 2 ** (bits - 1) for at in range(int(np.prod(shape)))]
    return np.array(values).reshape(shape)


def rounded_by_hand(net: nn.Module, path: Path) -> nn.Module:
    """`net` (folded) with the numbers of the file, rounding by the formulas of the field."""
    stored, about = read(path)
    for name, (bits, shape) in about["weights"].items():
        scale = stored[f"{name}.weight.scale"].reshape(-1, *[1] * (len(shape) - 1))
        layer = net.get_submodule(name)
        layer.weight.data = torch.from_numpy(integers(stored[f"{name}.weight"], bits, shape)).float() * scale
        if layer.bias is not None:
            layer.bias.data = stored[f"{name}.bias"]
    for at, (name, bits) in enumerate(about["activations"].items()):
        scale, zero = float(stored["activations.scale"][at]), int(stored["activations.zero_point"][at])

        def rounded(_, args, scale=scale, zero=zero, most=2**bits - 1):
            return ((torch.round(args[0] / scale) + zero).clamp(0, most) - zero) * scale

        net.get_submodule(name).register_forward_pre_hook(rounded)
    return net


@pytest.mark.parametrize("granularity", ("channel", "tensor"))
@pytest.mark.parametrize("precision", SIMULATED)
def test_the_file_holds_the_integers_of_the_folded_weights(make_request, net, precision, granularity):
    artefact = realise(net, precision, "torch", request=make_request(granularity=granularity))
    stored, about = read(artefact.path)
    layers = layers_of(folded_net())
    assert about["weights"].keys() == layers.keys()
    for name, layer in layers.items():
        bits, shape = about["weights"][name]
        assert bits == bits_of(precision, name) and shape == list(layer.weight.shape)
        assert len(stored[f"{name}.weight"]) == -(-layer.weight.numel() * bits // 8)
        largest = layer.weight.detach().abs().flatten(1).amax(1)
        scale = stored[f"{name}.weight.scale"]
        expected = largest if granularity == "channel" else largest.max().reshape(1)
        torch.testing.assert_close(scale, expected / (2 ** (bits - 1) - 1), rtol=2**-10, atol=0)
        exact = (layer.weight.detach() / scale.reshape(-1, *[1] * (layer.weight.ndim - 1))).numpy()
        assert np.abs(integers(stored[f"{name}.weight"], bits, shape) - exact).max() <= 0.5 + 1e-3
        if layer.bias is not None:
            torch.testing.assert_close(stored[f"{name}.bias"], layer.bias.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ranges", ("minmax", "mse"))
@pytest.mark.parametrize("precision", SIMULATED)
def test_what_runs_is_what_the_file_holds(make_request, net, precision, ranges):
    """A rounding to the other side of a tie moves few logits, and by about a step."""
    artefact = realise(net, precision, "torch", request=make_request(ranges=ranges))
    batch = images(200, seed=4)
    with torch.inference_mode():
        expected, exact = rounded_by_hand(folded_net(), artefact.path)(batch), net(batch)
    got = artefact.predict(batch)
    lost = (expected - exact).abs().mean()
    assert (got - expected).abs().mean() <= 0.02 * lost
    assert (got - expected).abs().median() <= 1e-4


@pytest.mark.parametrize("precision", WITH_ACTIVATIONS)
def test_inputs_are_rounded_to_their_bits_and_span_all_calibration_images(make_request, net, precision):
    artefact = realise(net, precision, "torch", request=make_request())
    stored, about = read(artefact.path)
    assert about["activations"] == {n: 8 if n in ENDS else int(precision[3]) for n in layers_of(net)}
    calib = images(64, seed=3)
    assert stored["activations.scale"][list(about["activations"]).index("stem.0")].item() == pytest.approx(
        (calib.max() - calib.min()).item() / 255, rel=1e-5
    )
    assert artefact.details["calibration_images"] == 64


@pytest.mark.parametrize("ranges", ("minmax", "mse"))
def test_grids_do_not_depend_on_how_calibration_images_are_batched(make_request, net, tmp_path, ranges):
    calib = images(40, seed=9)
    scales = []
    for size in (40, 7):
        request = make_request(folder=tmp_path / str(size), calibration=lambda s=size: calib.split(s), ranges=ranges)
        scales.append(read(realise(net, "w4a8", "torch", request=request).path)[0]["activations.scale"])
    # a value on the edge of two bins may change sides with the order of sums; a share tried is 0.8 % from the next
    torch.testing.assert_close(*scales, rtol=1e-5 if ranges == "minmax" else 0.02, atol=0)


@pytest.mark.parametrize("precision", ("w8", "w6", "w4"))
def test_weights_alone_need_no_calibration_images(make_request, net, precision):
    artefact = realise(net, precision, "torch", request=make_request(calibration=None))
    assert artefact.details["activations"] == "fp32" and artefact.details["calibration_images"] == 0
    assert read(artefact.path)[1]["activations"] == {}


@pytest.mark.parametrize("precision", SIMULATED)
def test_details_say_what_was_done(artefact_of, net, precision):
    artefact = artefact_of(precision, "torch")
    details = artefact.details
    small = {name: layer.weight.numel() for name, layer in layers_of(net).items()}
    counts = {"int8": len(small)}  # the units of their scales
    for name, numbers in small.items():
        kind = f"int{bits_of(precision, name)}"
        counts[kind] = counts.get(kind, 0) + numbers
    assert {kind: n for kind, n in details["numbers_by_type"].items() if kind.startswith("int")} == counts
    assert details["weights"] == f"int{precision[1]}, per output channel, symmetric"
    assert (details["granularity"], details["ranges"], details["first_and_last_bits"]) == ("channel", "minmax", 8)
    assert details["batch_norms_left"] == 0 and details["layers_left"] == []
    assert "latency is not meaningful" in artefact.notes[0] and artefact.notes[0].startswith(precision)
    assert len(artefact.notes) == (1 if precision in ("w8", "w8a8") else 2)
    assert json.loads(json.dumps(details)) == details


@pytest.mark.parametrize("granularity", ("channel", "tensor"))
@pytest.mark.parametrize("precision", SIMULATED)
def test_the_size_of_the_file_is_that_of_its_bits(make_request, precision, granularity):
    net = small_net(width=64)
    artefact = realise(net, precision, "torch", request=make_request(granularity=granularity))
    layers = layers_of(net)
    weights = sum(-(-layer.weight.numel() * bits_of(precision, name) // 8) for name, layer in layers.items())
    scales = sum(len(layer.weight) if granularity == "channel" else 1 for layer in layers.values())
    folded = layers_of(folded_net())
    biases = sum(len(layers[name].weight) for name, layer in folded.items() if layer.bias is not None)
    numbers = weights + 2 * scales + len(layers) + 4 * biases + (5 * len(layers) if "a" in precision else 0)
    assert numbers < artefact.bytes < numbers + 1000 + 60 * len(layers)  # the header: names, bits, shapes


@pytest.mark.parametrize("ranges", ("minmax", "mse"))
def test_fewer_bits_and_fewer_scales_lose_more_of_the_weights(make_request, net, ranges):
    def lost(precision: str, granularity: str) -> float:
        request = make_request(granularity=granularity, ranges=ranges)
        return realise(net, precision, "torch", request=request).details["weight_rel_error"]

    channel, tensor = ([lost(precision, g) for precision in ("w8", "w6", "w4")] for g in ("channel", "tensor"))
    assert channel == sorted(channel) and tensor == sorted(tensor)
    assert all(a < b for a, b in zip(channel, tensor, strict=True))
    assert channel[0] < 0.01 < channel[2] < 0.2


def test_simulated_w8a8_is_near_real_int8_of_torch(artefact_of, net):
    """The same weights; PT2E also rounds what is added, pooled and joined, so most of the loss agrees, not all."""
    batch = images(500, seed=4)
    with torch.inference_mode():
        exact = net(batch)
    simulated, real = (artefact_of(precision, "torch").predict(batch) for precision in ("w8a8", "int8"))
    assert compare(real, simulated).top1_agreement >= 0.93
    lost = compare(exact, real)
    assert (real - simulated).abs().mean() <= 1.2 * (real - exact).abs().mean()
    assert compare(real, simulated).relative_diff <= 1.5 * lost.relative_diff


class Odd(nn.Module):
    """No linear layer, a layer that never runs, and one with a weight and a behaviour of its own."""

    class Own(nn.Conv2d):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.first, self.own = nn.Conv2d(3, 4, 3), self.Own(4, 4, 1)
        self.unused, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.middle, self.last = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.norm(self.own(self.first(x)).relu()))).mean((2, 3))


def test_what_is_not_rounded_is_told(make_request):
    torch.manual_seed(0)
    artefact = realise(Odd().eval(), "w4a4", "torch", request=make_request())
    stored, about = read(artefact.path)
    assert {name: bits for name, (bits, _) in about["weights"].items()} == {
        "first": 8, "unused": 4, "middle": 4, "last": 8
    }  # fmt: skip
    assert about["activations"] == {"first": 8, "middle": 4, "last": 8}
    assert stored["own.weight"].dtype == torch.float32
    assert artefact.details["layers_left"] == ["own"] and artefact.details["batch_norms_left"] == 1
    told = " ".join(artefact.notes)
    assert "(first, last) keep 8 bits" in told and "left in fp32: own." in told and "1 batch norms" in told
