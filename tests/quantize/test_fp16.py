"""fp16: what is rounded, and what does not fit."""

import copy

import pytest
import torch
from quantize_nets import images, small_net
from safetensors.torch import load_file
from torch import nn

from tdq_core.compression.quantize import realise
from tdq_core.errors import Refused, RunFailed
from tdq_core.specs import BACKENDS


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_above_65504_is_refused_by_name(net, make_request, backend):
    large = copy.deepcopy(net)
    with torch.no_grad():
        large.left.weight[0, 0] = 65600.0
    with pytest.raises(Refused, match=r"left\.weight' reaches 6\.56e\+04.*65504"):
        realise(large, "fp16", backend, request=make_request())


def test_an_activation_above_65504_is_a_failed_run(make_request):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0].weight.mul_(1e6 / net[0].weight.abs().max()).clamp_(-6e4, 6e4)
        net[0].bias.fill_(6e4)
        net[1].weight.fill_(1e-3)
    with pytest.raises(RunFailed, match=r"not finite.*overflows"):
        realise(net.eval(), "fp16", "torch", request=make_request())


def test_the_file_of_torch_holds_halves(artefact_of, net):
    stored = load_file(artefact_of("fp16", "torch").path)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(stored[name], value.half() if value.is_floating_point() else value, rtol=0, atol=0)


def test_torch_computes_what_true_halves_compute(artefact_of, net):
    """The reference: the model converted with `.half()`, whose kernels accumulate in float32 and round the result."""
    batch = images(64, seed=6)
    with torch.inference_mode():
        true_half, exact = copy.deepcopy(net).half()(batch.half()).float(), net(batch)
    got = artefact_of("fp16", "torch").predict(batch)
    lost = (true_half - exact).abs().max()
    assert 0.2 * lost < (got - exact).abs().max() < 5 * lost
    assert (got - true_half).abs().max() < 3 * lost


def test_both_backends_say_what_fp16_on_a_cpu_is_worth(artefact_of):
    for backend in BACKENDS:
        (note,) = artefact_of("fp16", backend).notes
        assert "latency is not meaningful" in note


def test_wider_nets_fit(make_request):
    check = realise(small_net(32), "fp16", "torch", request=make_request()).details["precision_check"]
    assert check["top1_agreement"] == 1.0 and check["relative_diff"] < 5e-3
