"""Which runtimes read an ONNX file: versions of operators and of the file format."""

from typing import Any

from onnx import ModelProto
from onnx.helper import find_min_ir_version_for

OPSET = 20
"""Where none is asked for."""

RUNTIMES = {13: "1.6", 14: "1.8", 15: "1.10", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17", 21: "1.19"}
"""By opset the first ONNX Runtime that knows all of its operators, from the table of versions in its documentation; of
21 the first that has the kernels of 4-bit weights."""

WITH_FOREIGN_DOMAINS = "1.18"
"""The first that reads the usual int8 files, which name operator sets of other domains though they use none."""


def write_for_oldest(proto: ModelProto, asked: int | None) -> None:
    """Give `proto`, in place, the lowest version of the format that its operators need.

    Where an opset was `asked` for, operator sets that no node uses go: runtimes refuse those that they do not know.
    """
    if asked is not None:
        used = {node.domain for node in proto.graph.node} | {domain for f in proto.functions for domain in [f.domain]}
        kept = [each for each in proto.opset_import if each.domain in used | {"", "ai.onnx"}]
        del proto.opset_import[:]
        proto.opset_import.extend(kept)
    proto.ir_version = find_min_ir_version_for(proto.opset_import, ignore_unknown=True)


def opset_of(proto: ModelProto) -> int:
    """The version of the standard operators."""
    return next(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx"))


def told(proto: ModelProto) -> dict[str, Any]:
    """What a record says of the file's versions."""
    bare = all(each.domain in ("", "ai.onnx", "ai.onnx.ml") for each in proto.opset_import)
    return {
        "ir_version": proto.ir_version,
        "lowest_onnxruntime": RUNTIMES[opset_of(proto)] if bare else WITH_FOREIGN_DOMAINS,
    }
