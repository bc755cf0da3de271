"""4-bit weights in ONNX files: the packed file's integers, and what ONNX Runtime computes is the simulation."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from quantize_nets import images
from torch import Tensor, nn

from tdq_core.compression.quantize import onnx_int4, realise
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.simulated_file import load_simulated
from tdq_core.errors import InputError, RunFailed
from tdq_core.graph.modules import plain_layers
from tdq_core.specs import RankRule, RunSpec


class Again(nn.Module):
    """One layer twice on different inputs, groups, and linear layers on tokens and on features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.mix = nn.Linear(8, 12, bias=False)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.body(2 - self.body(x)))
        return self.head(torch.tanh(self.mix(x.flatten(2).transpose(1, 2))).mean(1))


def again() -> nn.Module:
    torch.manual_seed(2)
    return Again().eval()


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("make", ["net", again])
def test_the_file_holds_the_packed_integers_and_computes_the_simulation(make, granularity, net, make_request):
    model = net if make == "net" else make()
    made = realise(model, "w4", "onnxruntime", request=make_request(granularity=granularity))
    here = make_request(granularity=granularity)
    simulated = realise(model, "w4", "torch", request=here)
    x = images(9, seed=5)
    assert torch.allclose(made.predict(x), simulated.predict(x), atol=1e-3 * float(simulated.predict(x).abs().max()))
    held = {t.name: t for t in onnx.load(made.path).graph.initializer}
    for name, weight in load_simulated(simulated.path).weights.items():
        constant = held[f"{name}.integers"]
        assert constant.data_type == (TensorProto.INT4 if weight.bits == 4 else TensorProto.INT8)
        values = numpy_helper.to_array(constant).astype(np.int8)
        same = values if values.shape == tuple(weight.integers.shape) else values.T
        assert np.array_equal(same, weight.integers.numpy())
        assert len(constant.raw_data) == -(-weight.integers.numel() * weight.bits // 8)
    assert made.details["left_in_fp32"] == {} and made.details["lowest_onnxruntime"] == "1.19"


@pytest.mark.parametrize("make", ["net", again])
def test_activations_are_rounded_before_each_layer_on_the_grids_of_each_call(make, net, make_request):
    model = net if make == "net" else make()
    made = realise(model, "w4a8", "onnxruntime", request=make_request())
    simulated = realise(model, "w4a8", "torch", request=make_request())
    by_operator = session_predict(made.path, 1, literally=True)
    x = images(9, seed=5)
    apart = (by_operator(x) - simulated.predict(x)).square().mean().sqrt() / simulated.predict(x).std()
    rounding = (simulated.predict(x) - model(x)).square().mean().sqrt() / simulated.predict(x).std()
    assert apart < 0.02 < rounding, "but for values in the middle of two steps they are the same"
    grids = load_simulated(simulated.path).activations
    graph = onnx.load(made.path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    steps = [float(constants[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(steps) == sorted(float(np.float32(grid.scale)) for calls in grids.values() for grid in calls)


def test_quantization_aware_weights_are_the_files_too(net, make_request):
    made = realise(net, "w4", "onnxruntime", request=make_request(aware=True))
    simulated = realise(net, "w4", "torch", request=make_request(aware=True))
    x = images(9, seed=5)
    assert torch.allclose(made.predict(x), simulated.predict(x), atol=1e-3)
    assert made.details["quantization_aware"] and made.bytes < 2 * simulated.bytes


@pytest.mark.parametrize("aware", [False, True])
def test_bits_of_single_layers_are_in_the_file_as_the_type_that_holds_them(net, make_request, aware):
    """4 bits and fewer as INT4, more as INT8: the simulation of the same bits either way, and the note says so."""
    own = dict(zip(plain_layers(net), (8, 3, 6, 2, 5, 4, 7, 8), strict=False))
    made = realise(net, "w4", "onnxruntime", request=make_request(bits=own, aware=aware))
    simulated = realise(net, "w4", "torch", request=make_request(bits=own, aware=aware))
    x = images(9, seed=5)
    assert torch.allclose(made.predict(x), simulated.predict(x), atol=1e-3)
    kinds = {t.name: t.data_type for t in onnx.load(made.path).graph.initializer}
    for name, bits in simulated.details["weight_bits"].items():
        assert kinds[f"{name}.integers"] == (TensorProto.INT4 if bits <= 4 else TensorProto.INT8)
    assert made.details["weight_bits"] == simulated.details["weight_bits"]
    assert "5 to 8 bits INT8" in made.notes[0]


def test_a_graph_that_is_not_the_simulation_is_no_result(net, make_request, monkeypatch):
    stored = onnx_int4.load_simulated

    def other(path):
        found = stored(path)
        weights = {n: replace(w, scale=w.scale * (2 if n == "left" else 1)) for n, w in found.weights.items()}
        return replace(found, weights=weights)

    monkeypatch.setattr(onnx_int4, "load_simulated", other)
    with pytest.raises(RunFailed, match="INT4 file is not the simulation"):
        realise(net, "w4", "onnxruntime", request=make_request())


def test_a_weight_that_the_graph_lacks_is_no_result(net, make_request, monkeypatch):
    export = onnx_int4.export_onnx

    def without(model, path, request):
        made = export(model, path, request)
        proto = onnx.load(made.path)
        (constant,) = (t for t in proto.graph.initializer if t.name == "left.weight")
        constant.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(constant), "left.weight"))
        onnx.save(proto, made.path)
        return made

    monkeypatch.setattr(onnx_int4, "export_onnx", without)
    with pytest.raises(RunFailed, match="does not hold the weight of the layer 'left'"):
        realise(net, "w4", "onnxruntime", request=make_request())


@pytest.mark.parametrize(
    ("options", "told"),
    [({"precision": "w3"}, "fp32, fp16, int8, w4, w4a8; other simulated bits"), ({"precision": "w4a4"}, "run with the"),
     ({"precision": "w4", "opset": 17}, "not 4-bit weights, which take opset 21"),
     ({"precision": "w4", "method": "svd", "rule": RankRule("ratio", 9, budget="bytes")}, "backend 'torch' writes")],
)  # fmt: skip
def test_what_onnx_has_no_type_for_is_one_sentence(options, told):
    RunSpec.of("digits_resnet", "digits", precision="w4a8", backend="onnxruntime")
    with pytest.raises(InputError, match=told) as error:
        RunSpec.of("digits_resnet", "digits", backend="onnxruntime", **options)
    assert "\n" not in str(error.value)
