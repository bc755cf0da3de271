"""Laws that hold for every precision on every backend."""

import copy
import itertools

import pytest
import torch
from quantize_nets import images, small_net

from tdq_core.errors import InputError
from tdq_core.quantize import realise
from tdq_core.quantize.agreement import compare
from tdq_core.specs import BACKENDS, PRECISIONS

EVERY = list(itertools.product(PRECISIONS, BACKENDS))
MOST_OFF = {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.15}
SAME_TOP1 = {"fp32": 1.0, "fp16": 0.99, "int8": 0.93}


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_logits_are_those_of_the_model_within_what_the_precision_loses(artefact_of, net, precision, backend):
    batch = images(500, seed=4)
    with torch.inference_mode():
        expected = net(batch)
    got = artefact_of(precision, backend).predict(batch)
    assert got.dtype == torch.float32 and not got.requires_grad
    check = compare(expected, got)
    assert check.relative_diff <= MOST_OFF[precision]
    assert check.top1_agreement >= SAME_TOP1[precision]


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_any_batch_size_gives_the_same_logits(artefact_of, precision, backend):
    predict, batch = artefact_of(precision, backend).predict, images(7, seed=5)
    pieces = torch.cat([predict(piece) for piece in batch.split([1, 2, 4])])
    torch.testing.assert_close(pieces, predict(batch), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_bytes_are_those_of_the_only_file_that_is_left(artefact_of, precision, backend):
    artefact = artefact_of(precision, backend)
    assert artefact.bytes == len(artefact.path.read_bytes())
    assert list(artefact.path.parent.iterdir()) == [artefact.path]


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_the_model_is_not_changed(artefact_of, net, precision, backend):
    artefact_of(precision, backend)
    before = small_net()
    assert net.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not net.training


@pytest.mark.parametrize("backend", BACKENDS)
def test_int8_files_of_a_wider_net_are_a_third_of_fp32(make_request, backend):
    net = small_net(width=64)
    dense, small = (realise(net, p, backend, request=make_request()).bytes for p in ("fp32", "int8"))
    assert small < 0.35 * dense


@pytest.mark.parametrize("backend", BACKENDS)
def test_fp16_files_are_about_half_of_fp32(artefact_of, backend):
    assert artefact_of("fp16", backend).bytes < 0.75 * artefact_of("fp32", backend).bytes


@pytest.mark.parametrize("backend", BACKENDS)
def test_int8_without_calibration_images_is_an_input_error(net, make_request, backend):
    with pytest.raises(InputError, match=r"int8.*needs calibration images.*--calib"):
        realise(net, "int8", backend, request=make_request(calibration=None))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_calibration_pass_is_an_input_error(net, make_request, backend):
    with pytest.raises(InputError, match=r"at least one image.*Got none"):
        realise(net, "int8", backend, request=make_request(calibration=list))


@pytest.mark.parametrize(("field", "value"), [("precision", "int4"), ("backend", "tensorrt")])
def test_an_unknown_choice_is_an_input_error(net, make_request, field, value):
    asked = {"precision": "fp32", "backend": "torch"} | {field: value}
    with pytest.raises(InputError, match=rf"'{field}' must be one of .*Got '{value}'"):
        realise(net, **asked, request=make_request())


def test_an_example_of_one_image_is_an_input_error(make_request):
    with pytest.raises(InputError, match=r"at least two images.*\(1, 3, 8, 8\)"):
        make_request(example=images(1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_progress_counts_calibration_batches_and_stdout_stays_empty(net, make_request, backend, capfd):
    heard: list[tuple[str, int, int]] = []
    realise(net, "int8", backend, request=make_request(on_progress=lambda *event: heard.append(event)))
    assert [event for event in heard if event[0] == "calibrate"] == [("calibrate", n, 3) for n in (1, 2, 3)]
    assert capfd.readouterr().out == ""


def test_copies_of_a_model_give_equal_files(net, make_request, tmp_path):
    first = realise(net, "int8", "onnxruntime", request=make_request())
    second = realise(copy.deepcopy(net), "int8", "onnxruntime", request=make_request(folder=tmp_path / "second"))
    assert first.path.read_bytes() == second.path.read_bytes()
