"""Laws that hold for every precision on every backend."""

import copy

import pytest
import torch
from quantize_nets import images, small_net

from tdq_core.compression.quantize import realise
from tdq_core.errors import InputError
from tdq_core.graph.agreement import compare
from tdq_core.specs.precision import BACKENDS, deployed, precisions_of, simulated
from tdq_core.system import machine

SIMULATED = simulated()
EVERY = [(precision.name, name) for name, backend in BACKENDS.items() for precision in precisions_of(backend)]
MOST_OFF = {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.15}
MOST_OFF |= {"w8": 0.03, "w6": 0.08, "w4": 0.4, "w8a8": 0.15, "w6a6": 0.25, "w4a8": 0.4, "w4a4": 0.6}
MOST_OFF |= {"w3": 0.8, "w2": 6.0, "w3a8": 0.8}
SAME_TOP1 = {"fp32": 1.0, "fp16": 0.99, "int8": 0.93}
SAME_TOP1 |= {"w8": 0.97, "w6": 0.93, "w4": 0.5, "w8a8": 0.93, "w6a6": 0.85, "w4a8": 0.5, "w4a4": 0.4}
SAME_TOP1 |= {"w3": 0.2, "w2": 0.0, "w3a8": 0.2}
"""The small network was never trained: its classes are close together, and 4 bits are only kept from being a wreck."""


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_logits_are_those_of_the_model_within_what_the_precision_loses(artefact_of, net, precision, backend):
    batch = images(500, seed=4)
    with torch.inference_mode():
        expected = net(batch)
    # where 16-bit sums saturate, ONNX Runtime gives other logits for weights that use all 8 bits
    reduced = precision == "int8" and machine.needs_reduced_range()
    got = artefact_of(precision, backend, reduced).predict(batch)
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


ROUNDS_ACTIVATIONS = [(p, b) for p, b in EVERY if p == "int8" or (p in SIMULATED and "a" in p)]


@pytest.mark.parametrize(("precision", "backend"), ROUNDS_ACTIVATIONS)
def test_no_calibration_images_for_activations_is_an_input_error(net, make_request, precision, backend):
    with pytest.raises(InputError, match=rf"'{precision}' needs calibration images.*'calib'"):
        realise(net, precision, backend, request=make_request(calibration=None))


@pytest.mark.parametrize(("precision", "backend"), ROUNDS_ACTIVATIONS)
def test_an_empty_calibration_pass_is_an_input_error(net, make_request, precision, backend):
    with pytest.raises(InputError, match=rf"at least one image for {precision}\. Got none"):
        realise(net, precision, backend, request=make_request(calibration=list))


@pytest.mark.parametrize("precision", [name for name in SIMULATED if name not in BACKENDS["onnxruntime"].also])
def test_other_simulated_bits_on_onnxruntime_are_an_input_error(net, make_request, precision):
    with pytest.raises(InputError, match=rf"run with the backend 'torch'\. Got the precision '{precision}'"):
        realise(net, precision, "onnxruntime", request=make_request())


@pytest.mark.parametrize("precision", deployed())
def test_searched_ranges_without_simulated_bits_are_an_input_error(net, make_request, precision):
    with pytest.raises(InputError, match=rf"ranges 'mse'.*Got them with {precision}"):
        realise(net, precision, "torch", request=make_request(ranges="mse"))


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
