"""Laws that hold for every precision on every backend."""

import copy
import itertools

import pytest
import torch
from quantize_nets import images, small_net

from tdq_core.errors import InputError
from tdq_core.quantize import Artefact, Request, realise
from tdq_core.specs import BACKENDS, PRECISIONS

EVERY = list(itertools.product(PRECISIONS, BACKENDS))
TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.1}


@pytest.fixture(scope="module")
def realised(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Artefact]:
    net, before = small_net(), small_net().state_dict()
    request = Request(
        example=images(5, seed=2),
        calibration=lambda: images(64, seed=3).split(24),
        folder=tmp_path_factory.mktemp("artefacts"),
        threads=1,
        reduce_range=False,
    )
    made = {(p, b): realise(net, p, b, request=request) for p, b in EVERY}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    return made


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_logits_are_those_of_the_model_within_what_the_precision_loses(realised, net, precision, backend):
    batch = images(200, seed=4)
    with torch.inference_mode():
        expected = net(batch)
    got = realised[precision, backend].predict(batch)
    assert got.dtype == torch.float32 and not got.requires_grad
    spread = (expected.amax(dim=1) - expected.amin(dim=1)).max()
    assert (got - expected).abs().max() <= TOLERANCE[precision] * spread
    top2 = expected.topk(2, dim=1).values
    clear = top2[:, 0] - top2[:, 1] > 2 * TOLERANCE[precision] * spread
    assert clear.sum() >= 20
    assert torch.equal(got.argmax(dim=1)[clear], expected.argmax(dim=1)[clear])


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_any_batch_size_gives_the_same_logits(realised, precision, backend):
    predict, batch = realised[precision, backend].predict, images(7, seed=5)
    pieces = torch.cat([predict(piece) for piece in batch.split([1, 2, 4])])
    torch.testing.assert_close(pieces, predict(batch), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("precision", "backend"), EVERY)
def test_bytes_are_those_of_the_file(realised, precision, backend):
    artefact = realised[precision, backend]
    assert artefact.bytes == artefact.path.stat().st_size == len(artefact.path.read_bytes())


def test_each_artefact_has_its_own_file_and_nothing_else_is_left(realised):
    folder = realised["fp32", "torch"].path.parent
    assert sorted(folder.iterdir()) == sorted(artefact.path for artefact in realised.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_of_a_wider_net_shrink_with_the_precision(make_request, backend):
    net = small_net(width=64)
    size = {p: realise(net, p, backend, request=make_request()).bytes for p in PRECISIONS}
    assert size["fp16"] < 0.6 * size["fp32"]
    assert size["int8"] < 0.35 * size["fp32"]


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
def test_progress_counts_every_calibration_batch(net, make_request, backend):
    heard: list[tuple[str, int, int]] = []
    realise(net, "int8", backend, request=make_request(on_progress=lambda *event: heard.append(event)))
    assert [event for event in heard if event[0] == "calibrate"] == [("calibrate", n, 3) for n in (1, 2, 3)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_printed_to_stdout(net, make_request, backend, capfd):
    realise(net, "int8", backend, request=make_request())
    assert capfd.readouterr().out == ""


def test_copies_of_a_model_give_equal_files(net, make_request, tmp_path):
    first = realise(net, "int8", "onnxruntime", request=make_request())
    second = realise(copy.deepcopy(net), "int8", "onnxruntime", request=make_request(folder=tmp_path / "second"))
    assert first.path.read_bytes() == second.path.read_bytes()
