"""An exported graph is trusted only after its logits were compared with torch."""

import onnx
import pytest
import torch
from quantize_nets import images
from torch import nn

from tdq_core.compression.quantize import onnx_export, realise
from tdq_core.errors import RunFailed
from tdq_core.graph.agreement import agreement, compare


class Wrong(nn.Module):
    """Another function of the same images: the defect of an exporter, wrapped around a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) + 0.05 * x.mean(dim=(1, 2, 3), keepdim=False)[:, None] * torch.arange(10.0)


RIGHT = onnx_export._legacy


def wrong(model, example, path, opset=None):
    RIGHT(Wrong(model).eval(), example, path, opset)


def frozen_batch(model, example, path, opset=None):
    torch.onnx.export(model, (example,), path, dynamo=False, opset_version=onnx_export.OPSET, input_names=["images"])


def broken(model, example, path, opset=None):
    raise KeyError("an operator")


@pytest.mark.parametrize("defect", [wrong, frozen_batch, broken])
def test_a_defective_exporter_is_passed_over_and_named(net, make_request, monkeypatch, defect):
    monkeypatch.setattr(onnx_export, "EXPORTERS", {"defective": defect, "right": RIGHT})
    artefact = realise(net, "fp32", "onnxruntime", request=make_request())
    assert artefact.details["exporter"] == "right"
    (failure,) = artefact.details["exporters_failed"]
    assert "'defective'" in failure and failure in artefact.notes[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_no_right_exporter_is_a_failed_run_and_leaves_no_file(net, make_request, monkeypatch, precision):
    monkeypatch.setattr(onnx_export, "EXPORTERS", {"one": wrong, "two": broken})
    request = make_request()
    with pytest.raises(RunFailed, match=r"No ONNX exporter.*'one' gave other logits.*'two' stopped with KeyError"):
        realise(net, precision, "onnxruntime", request=request)
    assert list(request.folder.iterdir()) == []


@pytest.mark.parametrize("exporter", list(onnx_export.EXPORTERS))
def test_every_exporter_gives_the_logits_of_torch(net, make_request, monkeypatch, exporter):
    monkeypatch.setattr(onnx_export, "EXPORTERS", {exporter: onnx_export.EXPORTERS[exporter]})
    artefact = realise(net, "fp32", "onnxruntime", request=make_request())
    batch = images(33, seed=7)
    with torch.inference_mode():
        torch.testing.assert_close(artefact.predict(batch), net(batch), rtol=1e-4, atol=1e-4)
    assert artefact.details["opset"] == onnx_export.OPSET
    assert artefact.details["export_check"]["images"] == 5 + 6


def test_the_maintained_exporter_is_tried_first(artefact_of):
    assert artefact_of("fp32", "onnxruntime").details["exporter"] == "dynamo"


def test_the_file_names_no_source_file(artefact_of):
    path = artefact_of("fp32", "onnxruntime").path
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert b".py" not in path.read_bytes()


def test_a_model_that_overflows_by_itself_is_told_apart(net):
    example = images(4)
    example[0, 0, 0, 0] = float("inf")
    with pytest.raises(RunFailed, match=r"the model itself are not finite"):
        agreement(net, lambda batch: net(batch), example)


def test_agreement_counts_by_hand():
    expected = torch.tensor([[0.0, 4.0], [1.0, 0.0]])
    got = torch.tensor([[0.0, 3.0], [1.0, 2.0]])
    check = compare(expected, got)
    assert (check.max_abs_diff, check.relative_diff, check.top1_agreement) == (2.0, 0.5, 0.5)
    assert not check.same_function and compare(expected, expected.clone()).same_function
    assert compare(expected, expected * float("nan")).max_abs_diff == float("inf")
