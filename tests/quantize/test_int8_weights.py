"""int8: the integers in the files, against an independent computation from folded weights."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from quantize_nets import images
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tdq_core.compression.quantize import onnx_export, realise
from tdq_core.compression.quantize.pt2_file import load_program
from tdq_core.errors import RunFailed
from tdq_core.specs import BACKENDS
from tdq_core.system import machine

LIMIT = {False: 127, True: 64}


def folded_weights(net: nn.Module) -> list[torch.Tensor]:
    """Every weight with its batch norm folded in, by torch's own fusion."""
    pairs = [(net.stem[0], net.stem[1]), (net.block.conv1, net.block.bn1), (net.block.conv2[2], net.block.bn2)]
    folded = [fuse_conv_bn_eval(conv, bn).weight for conv, bn in pairs]
    plain = [net.block.conv2[0], net.block.conv2[1], net.left, net.right, net.head]
    return [weight.detach() for weight in (*folded, *(layer.weight for layer in plain))]


def stored_onnx(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(integers, scales) of every int8 weight in an ONNX file."""
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    pairs = [n.input for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in values]
    return [(values[i[0]], values[i[1]]) for i in pairs if values[i[0]].dtype == np.int8 and values[i[0]].ndim > 1]


def stored_torch(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(integers, scales) of every int8 weight in a .pt2 file."""
    program = load_program(path)
    nodes = [n for n in program.graph.nodes if "dequantize_per_" in str(n.target) and n.args[0].op == "get_attr"]
    assert all(isinstance(n.args[1], float) or n.args[1].op == "get_attr" for n in nodes)
    return [
        (
            getattr(program, str(n.args[0].target)).numpy(),
            np.array(n.args[1]) if isinstance(n.args[1], float) else getattr(program, str(n.args[1].target)).numpy(),
        )
        for n in nodes
    ]


STORED = {"onnxruntime": stored_onnx, "torch": stored_torch}


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_scales_are_per_channel_maxima_of_the_folded_weights(artefact_of, net, backend, reduced):
    artefact = artefact_of("int8", backend, reduced)
    stored = STORED[backend](artefact.path)
    expected = folded_weights(net)
    assert len(stored) == len(expected)
    by_shape = {tuple(w.shape): (w, w.abs().flatten(1).amax(dim=1) / LIMIT[reduced]) for w in expected}
    for integers, scales in stored:
        transposed = integers.shape not in by_shape
        weight, scale = by_shape[integers.shape[::-1] if transposed else integers.shape]
        np.testing.assert_allclose(scales, scale.numpy(), rtol=1e-5)
        exact = (weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).numpy()
        assert np.abs((integers.T if transposed else integers) - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_scale_a_tensor_is_its_largest_weight(make_request, net, backend, reduced):
    request = make_request(granularity="tensor", reduce_range=reduced)
    artefact = realise(net, "int8", backend, request=request)
    assert artefact.details["per_channel"] is False and artefact.details["weights"] == "int8, per tensor, symmetric"
    stored = STORED[backend](artefact.path)
    by_shape = {tuple(w.shape): w for w in folded_weights(net)}
    assert len(stored) == len(by_shape)
    for integers, scale in stored:
        transposed = integers.shape not in by_shape
        weight = by_shape[integers.shape[::-1] if transposed else integers.shape]
        assert scale.size == 1
        np.testing.assert_allclose(scale, weight.abs().max().item() / LIMIT[reduced], rtol=1e-5)
        assert np.abs((integers.T if transposed else integers) - (weight / float(scale)).numpy()).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_scale_a_channel_is_what_the_details_say(artefact_of, backend):
    details = artefact_of("int8", backend).details
    assert details["per_channel"] is True and details["weights"] == "int8, per output channel, symmetric"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("needed", [False, True])
def test_the_range_is_reduced_where_the_cpu_needs_it(net, make_request, monkeypatch, backend, needed):
    monkeypatch.setattr(machine, "needs_reduced_range", lambda: needed)
    artefact = realise(net, "int8", backend, request=make_request(reduce_range=None))
    assert artefact.details["reduce_range"] is needed
    assert max(np.abs(w.astype(int)).max() for w, _ in STORED[backend](artefact.path)) == LIMIT[needed]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_weight_is_stored_as_int8(artefact_of, net, backend):
    counts = artefact_of("int8", backend).details["numbers_by_type"]
    weights = sum(weight.numel() for weight in folded_weights(net))
    channels = sum(len(weight) for weight in folded_weights(net))
    assert weights <= counts["int8"] <= weights + channels  # ONNX: zero points too
    assert counts.get("float", counts.get("float32")) <= 3 * channels


def test_batch_norms_are_folded_when_the_exporter_leaves_them(net, make_request, monkeypatch):
    name = "dynamo, not optimised"
    monkeypatch.setattr(onnx_export, "EXPORTERS", {name: onnx_export.EXPORTERS[name]})
    dense = realise(net, "fp32", "onnxruntime", request=make_request())
    assert "BatchNormalization" in {n.op_type for n in onnx.load(dense.path).graph.node}
    small = realise(net, "int8", "onnxruntime", request=make_request())
    assert small.details["batch_norms_left"] == 0 and len(stored_onnx(small.path)) == 8


def activation_scales_onnx(path: Path) -> list[float]:
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    return [float(values[n.input[1]]) for n in graph.node if n.op_type == "QuantizeLinear"]


def activation_scales_torch(path: Path) -> list[float]:
    return [n.args[1] for n in load_program(path).graph.nodes if str(n.target).endswith(".quantize_per_tensor.default")]


@pytest.mark.parametrize(
    ("backend", "scales_of"), [("torch", activation_scales_torch), ("onnxruntime", activation_scales_onnx)]
)
def test_ranges_do_not_depend_on_how_calibration_images_are_batched(net, make_request, backend, scales_of, tmp_path):
    calib = images(40, seed=9)
    requests = [
        make_request(folder=tmp_path / str(size), calibration=lambda size=size: calib.split(size)) for size in (40, 7)
    ]
    once, split = (scales_of(realise(net, "int8", backend, request=request).path) for request in requests)
    assert len(once) >= 8
    np.testing.assert_allclose(split, once, rtol=1e-4)


@pytest.mark.parametrize(
    ("backend", "scales_of"), [("torch", activation_scales_torch), ("onnxruntime", activation_scales_onnx)]
)
def test_the_range_of_the_images_is_that_of_all_calibration_images(artefact_of, backend, scales_of):
    calib = images(256, seed=3)
    scale = (calib.max() - calib.min()) / 255
    assert scales_of(artefact_of("int8", backend).path)[0] == pytest.approx(scale.item(), rel=1e-5)


def test_the_saved_program_of_torch_gives_its_logits_in_a_new_process(artefact_of, tmp_path):
    artefact = artefact_of("int8", "torch")
    batch = images(3, seed=10)
    torch.save(batch, tmp_path / "batch.pt")
    code = (
        "import sys, torch; import torchao.quantization.pt2e.quantize_pt2e\n"
        "path, folder = sys.argv[1:]\n"
        "logits = torch.export.load(path).module()(torch.load(folder + '/batch.pt'))\n"
        "torch.save(logits.detach(), folder + '/logits.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(artefact.path), str(tmp_path)], check=True, capture_output=True)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), artefact.predict(batch), rtol=0, atol=1e-6)
    with zipfile.ZipFile(artefact.path) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    assert not any(b".py" in content for content in contents.values())
    assert sum(len(content) for entry, content in contents.items() if "sample_inputs" in entry) < 1500


def test_a_model_that_cannot_be_captured_is_a_failed_run(make_request):
    class Branching(nn.Module):
        def forward(self, x):
            return x.flatten(1) if float(x.sum()) > 0 else -x.flatten(1)

    with pytest.raises(RunFailed, match=r"PT2E.*backend 'onnxruntime'"):
        realise(Branching().eval(), "int8", "torch", request=make_request())
