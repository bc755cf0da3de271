"""Shortened graphs compute what they computed, bit for bit."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from quantize_nets import images

from tdq_core.compression.quantize import onnx_int8 as engine
from tdq_core.compression.quantize.onnx_compact import compact
from tdq_core.specs import PRECISIONS


def logits(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images(9, seed=5).numpy()})[0]


@pytest.fixture
def plain(net, make_request, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An int8 file as ONNX Runtime's quantizer leaves it."""
    monkeypatch.setattr(engine, "compact", lambda proto: None)
    request = make_request()
    request.folder.mkdir(parents=True)
    return engine.onnx_int8(net, request, PRECISIONS["int8"]).path


def test_a_file_is_shorter_and_its_logits_are_the_same_bit_for_bit(plain: Path, tmp_path: Path) -> None:
    proto = onnx.load(plain)
    compact(proto)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, tmp_path / "short.onnx")
    assert (tmp_path / "short.onnx").stat().st_size < 0.75 * plain.stat().st_size
    assert np.array_equal(logits(plain), logits(tmp_path / "short.onnx"))


def test_ends_and_weights_keep_their_names_and_constants_are_there_once(plain: Path) -> None:
    proto = onnx.load(plain)
    before = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer if len(t.dims) > 1}
    compact(proto)
    after = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert [v.name for v in (*proto.graph.input, *proto.graph.output)] == ["images", "logits"]
    assert before and all(np.array_equal(after[name], value) for name, value in before.items())
    contents = [(str(v.dtype), v.shape, v.tobytes()) for v in after.values()]
    assert len(set(contents)) == len(contents)
    used = [name for node in proto.graph.node for name in node.input if name]
    assert set(after) <= set(used) and not any(node.name for node in proto.graph.node)


def test_the_quantizer_writes_the_short_file(artefact_of) -> None:
    proto = onnx.load(artefact_of("int8", "onnxruntime").path)
    size = proto.ByteSize()
    compact(proto)
    assert proto.ByteSize() == size


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def test_equal_numbers_of_other_types_and_what_is_an_output_stay_apart() -> None:
    one, same, other = (numpy_helper.from_array(np.zeros(2, t), n) for n, t in
                        (("one", np.float32), ("same", np.float32), ("other", np.float64)))  # fmt: skip
    nodes = [helper.make_node("Add", ["x", "one"], ["long"]), helper.make_node("Add", ["long", "same"], ["y"]),
             helper.make_node("Cast", ["other"], ["z"], to=TensorProto.FLOAT)]  # fmt: skip
    outputs = [_value("y"), _value("z"), _value("same")]
    graph = helper.make_graph(nodes, "g", [_value("x")], outputs, [one, same, other], value_info=[_value("long")])
    proto = helper.make_model(graph)
    compact(proto)
    assert not proto.graph.value_info
    assert [t.name for t in proto.graph.initializer][1] == "same" and len(proto.graph.initializer) == 3
    assert [list(n.output) for n in proto.graph.node][1:] == [["y"], ["z"]]
    assert proto.graph.node[0].output[0] == proto.graph.node[1].input[0] != "long"


def test_a_graph_within_sees_names_from_outside_and_is_left_alone() -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["outside"], ["y1"])], "then", [], [_value("y1")])
    nodes = [helper.make_node("Identity", ["x"], ["outside"], name="first"),
             helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]  # fmt: skip
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    proto = helper.make_model(helper.make_graph(nodes, "g", [_value("x"), condition], [_value("y")]))
    before = proto.SerializeToString(deterministic=True)
    compact(proto)
    assert proto.SerializeToString(deterministic=True) == before


def test_no_short_name_is_one_that_is_taken() -> None:
    nodes = [helper.make_node("Add", ["a", "some"], ["inside"]), helper.make_node("Relu", ["inside"], ["b"])]
    some = numpy_helper.from_array(np.ones(2, np.float32), "some")
    proto = helper.make_model(helper.make_graph(nodes, "g", [_value("a")], [_value("b")], [some]),
                              opset_imports=[helper.make_opsetid("", 20)], ir_version=10)  # fmt: skip
    compact(proto)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"a": torch.ones(2).numpy()})[0].tolist() == [2.0, 2.0]
