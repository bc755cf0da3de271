"""Before anything is rounded every backend's graph is the model; after it, the file is the rounding of that graph."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from quantize_nets import images, small_net
from torch import nn
from torch.nn import functional as F
from woven import STEPS, woven

from tdq_core.compression.quantize import Request, onnx_int8, realise, torch_int8
from tdq_core.compression.quantize.left_in_float import left_in_float_note
from tdq_core.compression.quantize.onnx_proof import on_stored_weights, without_rounding
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_file import load_simulated, save_simulated
from tdq_core.compression.quantize.third_party_noise import quiet
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.errors import RunFailed
from tdq_core.graph.agreement import agreement, require_rounding
from tdq_core.graph.reached import unreached

CALIB = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(5))
EXAMPLE = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(6))


def request_in(folder: Path, **fields) -> Request:
    return Request(**({"example": EXAMPLE, "calibration": lambda: [CALIB], "folder": folder, "threads": 1} | fields))


@settings(max_examples=5)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3))
def test_the_graph_that_pt2e_prepares_is_the_model_however_norms_are_woven_in(kinds):
    net = woven(*kinds)
    with quiet():
        prepared = torch_int8._prepared(net, request_in(Path()), Scheme(8, 8))
        found = agreement(net, module_predict(copy.deepcopy(prepared)), EXAMPLE)
    assert found.relative_diff < 1e-5


@pytest.mark.parametrize("backend", ("torch", "onnxruntime"))
def test_every_step_at_once_survives_int8(backend, tmp_path):
    net = woven(*STEPS)
    details = realise(net, "int8", backend, request=request_in(tmp_path)).details
    assert details["float_check"]["relative_diff"] < 1e-5
    assert details["precision_check"]["relative_diff"] < 0.5


def test_a_norm_that_is_folded_wrongly_stops_int8_through_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_int8, "keep_wrong_folds_apart", lambda graph: None)
    with pytest.raises(RunFailed, match="PT2E prepared for int8 is not the model"):
        realise(woven("norm's input used"), "int8", "torch", request=request_in(tmp_path))


def test_a_program_that_rounds_otherwise_stops_int8_through_torch(tmp_path, monkeypatch):
    convert = torch_int8._converted

    def spoiled(prepared):
        converted = convert(prepared)
        next(p for n, p in converted.named_buffers() if "scale" in n).mul_(1.5)
        return converted

    monkeypatch.setattr(torch_int8, "_converted", spoiled)
    with pytest.raises(RunFailed, match="rounding the same graph by hand"):
        realise(
            small_net(),
            "int8",
            "torch",
            request=request_in(tmp_path, example=images(4), calibration=lambda: [images(8)]),
        )


SPOILT = {
    "half of a weight": (lambda t: t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4, 0.5, "from the weight"),
    "a bias": (lambda t: t.data_type == onnx.TensorProto.INT32, 0.5, "from the weight"),
    "a grid": (lambda t: t.name.endswith("_scale") and "relu" in t.name, 0.2, "but the calibration images reach"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_an_onnx_file_that_is_not_what_it_stands_for_is_found_out(what, tmp_path, monkeypatch):
    chosen, factor, sentence = SPOILT[what]
    quantize = onnx_int8._quantize

    def spoiled(folded, path, reader, scheme):
        kept = quantize(folded, path, reader, scheme)
        proto = onnx.load(path)
        tensor = next(t for t in proto.graph.initializer if chosen(t))
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), tensor.name))
        onnx.save(proto, path)
        return kept

    monkeypatch.setattr(onnx_int8, "_quantize", spoiled)
    with pytest.raises(RunFailed, match=sentence):
        realise(woven("plain"), "int8", "onnxruntime", request=request_in(tmp_path))


@pytest.mark.parametrize("zeros", ("a channel", "a layer", "a norm's scale"))
def test_weights_of_zero_are_right_on_any_grid(zeros, tmp_path):
    """Pruned channels, and the last norms of residual blocks as they are first drawn."""
    net = woven("plain")
    conv = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        {"a channel": conv.weight[1], "a layer": conv.weight, "a norm's scale": norm.weight}[zeros].zero_()
    details = realise(net, "int8", "onnxruntime", request=request_in(tmp_path)).details
    assert details["float_check"]["relative_diff"] < 1e-5


class Limited(nn.Module):
    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x):
        return x.clamp(self.low, self.high)


LIMITS = (nn.ReLU6(), nn.Hardtanh(), Limited(0, None), Limited(None, 1), Limited(0.1, 2), nn.Hardswish(), nn.PReLU())


@pytest.mark.parametrize("backend", ("torch", "onnxruntime"))
def test_activation_functions_with_limits_survive_int8(backend, tmp_path):
    layers = [layer for act in LIMITS for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), act)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 36, 5)).eval()
    details = realise(net, "int8", backend, request=request_in(tmp_path)).details
    assert details["float_check"]["relative_diff"] < 1e-5


def test_kernels_may_differ_as_rounding_itself_does_and_no_more():
    exact = torch.randn(10, 10)
    noise = 0.1 * torch.randn(10, 10)

    def given_(logits):
        return lambda batch: logits[: len(batch)]

    def apart(by):
        return require_rounding(given_(exact), given_(exact + noise), given_(exact + by), EXAMPLE, way_out="")

    assert apart(-0.5 * noise)["apart"] > 0
    with pytest.raises(RunFailed, match="kernels give other logits"):
        apart(-2 * noise)


class Repeated(nn.Module):
    """A convolution that is called at two very different ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.head((F.relu(self.body(x)) + F.relu(self.body(x * 100)) / 100).mean((2, 3)))


def test_each_call_of_a_layer_has_its_grid(tmp_path):
    torch.manual_seed(0)
    artefact = realise(Repeated().eval(), "w8a8", "torch", request=request_in(tmp_path))
    assert artefact.details["inputs_on_grids"] == 4
    stored = load_simulated(artefact.path)
    small, large = stored.activations["body"]
    assert large.scale == pytest.approx(100 * small.scale, rel=1e-4) and len(stored.activations["head"]) == 1
    save_simulated(stored, again := tmp_path / "again")
    assert again.read_bytes() == artefact.path.read_bytes()


class Headed(nn.Module):
    """Most of the weights are in a head that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.table, self.head = nn.Conv2d(3, 32, 3), nn.Parameter(torch.randn(32, 64)), nn.Linear(64, 5)
        self.aux = nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64))

    def forward(self, x):
        return self.head(F.relu(self.stem(x)).mean((2, 3)) @ self.table)


@pytest.mark.parametrize("precision", ("fp32", "fp16", "w8"))
def test_weights_that_no_image_reaches_are_told_and_not_counted(precision, tmp_path):
    net = Headed().eval()
    unused = [n for n in net.state_dict() if n.startswith("aux.")]
    assert unreached(net, EXAMPLE) == set(unused)
    artefact = realise(net, precision, "torch", request=request_in(tmp_path))
    assert artefact.bytes == artefact.path.stat().st_size - artefact.details["bytes_unused"]
    assert any("no image reaches" in note for note in artefact.notes)


@pytest.mark.parametrize("backend", ("torch", "onnxruntime"))
def test_an_8_bit_file_is_at_most_four_times_smaller(backend, tmp_path):
    net = Headed().eval()
    dense = realise(net, "fp32", "torch", request=request_in(tmp_path / "dense"))
    assert dense.bytes <= 4 * realise(net, "int8", backend, request=request_in(tmp_path)).bytes


def test_what_int8_leaves_in_floats_is_named(tmp_path):
    artefact = realise(woven("transposed in groups"), "int8", "onnxruntime", request=request_in(tmp_path))
    assert artefact.details["left_in_fp32"] == {"steps.0.conv.weight": 72}
    assert left_in_float_note(artefact.details["left_in_fp32"])[0] in artefact.notes
    assert any("no scale per output channel" in note for note in artefact.notes)


def test_an_opset_that_is_asked_for_is_written_bare(tmp_path):
    artefact = realise(woven("plain"), "int8", "onnxruntime", request=request_in(tmp_path, opset=17))
    proto = onnx.load(artefact.path)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 17)] and proto.ir_version == 8
    assert artefact.details["lowest_onnxruntime"] == "1.12" and artefact.details["ir_version"] == 8


def test_taking_the_rounding_out_gives_the_float_graph_back(tmp_path, monkeypatch):
    seen = {}
    checks = onnx_int8._checks

    def kept(model, folded, path, request):
        seen["floats"], seen["int8"] = onnx.load(folded), onnx.load(path)
        return checks(model, folded, path, request)

    monkeypatch.setattr(onnx_int8, "_checks", kept)
    realise(woven("plain", "two norms"), "int8", "onnxruntime", request=request_in(tmp_path))
    bare = without_rounding(seen["int8"], seen["floats"])
    ops = [
        node.op_type
        for node in bare.graph.node
        if node.op_type not in ("Identity", "QuantizeLinear", "DequantizeLinear")
    ]
    assert sorted(ops) == sorted(node.op_type for node in seen["floats"].graph.node)
    there = on_stored_weights(seen["floats"], bare)
    stored = {t.name: numpy_helper.to_array(t) for t in there.graph.initializer}
    assert all(np.isfinite(values).all() for values in stored.values())
