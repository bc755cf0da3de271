"""From torch to an ONNX file that has been compared with the model it came from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.artefact import Request
from tdq_core.compression.quantize.failures import summary
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.onnx_version import OPSET, opset_of, told, write_for_oldest
from tdq_core.compression.quantize.third_party_noise import quiet
from tdq_core.errors import RunFailed
from tdq_core.graph.agreement import Agreement, agreement

INPUT, OUTPUT = "images", "logits"


Exporter = Callable[[nn.Module, Tensor, Path, int], None]


def _maintained(optimize: bool) -> Exporter:
    def export(model: nn.Module, example: Tensor, path: Path, opset: int) -> None:
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=True,
            optimize=optimize,
            external_data=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )

    return export


def _legacy(model: nn.Module, example: Tensor, path: Path, opset: int) -> None:
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
    )


EXPORTERS: dict[str, Exporter] = {
    "dynamo": _maintained(optimize=True),
    "dynamo, not optimised": _maintained(optimize=False),
    "legacy": _legacy,
}
"""In the order of trial: the maintained one first, whose optimiser has given wrong graphs, the deprecated one last."""


@dataclass(frozen=True)
class Export:
    """A file that computes what the model computes, who wrote it, and what the earlier exporters did wrong."""

    path: Path
    exporter: str
    opset: int
    versions: Mapping[str, object]
    check: Agreement
    failures: tuple[str, ...]

    @property
    def details(self) -> dict[str, object]:
        return {
            "opset": self.opset,
            **self.versions,
            "exporter": self.exporter,
            "export_check": self.check.to_dict(),
            "exporters_failed": list(self.failures),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.failures:
            return ()
        return (f"Exported by '{self.exporter}', after {'; '.join(self.failures)}.",)


def export_onnx(model: nn.Module, path: Path, request: Request) -> Export:
    """Write `model` to `path` with the first exporter whose graph gives the model's logits.

    Every graph is compared with torch on `request.example` and on a second batch of another size.
    RunFailed: none of the exporters gave the right graph.
    """
    failures: list[str] = []
    for done, (name, exporter) in enumerate(EXPORTERS.items()):
        request.on_progress("export", done, len(EXPORTERS))
        try:
            check = _attempt(exporter, model, path, request)
        except RunFailed:
            raise
        except Exception as error:  # exporters and ONNX Runtime raise every kind; it is kept, in `failures`
            failures.append(f"'{name}' stopped with {summary(error)}")
            continue
        if check.same_function:
            request.on_progress("export", len(EXPORTERS), len(EXPORTERS))
            proto = onnx.load(path, load_external_data=False)
            return Export(path, name, opset_of(proto), told(proto), check, tuple(failures))
        failures.append(f"'{name}' gave other logits (by up to {check.relative_diff:.2g} of their spread)")
    path.unlink(missing_ok=True)
    raise RunFailed(f"No ONNX exporter gave a graph that computes what the model computes: {'; '.join(failures)}.")


def _attempt(exporter: Exporter, model: nn.Module, path: Path, request: Request) -> Agreement:
    opset = request.opset or OPSET
    with quiet():
        exporter(model, request.example[:2].clone(), path, opset)
    _strip(path, request.opset)
    return agreement(model, session_predict(path, request.session_threads), request.example)


def _strip(path: Path, asked: int | None) -> None:
    """Drop stack traces and module names: half of a small file, and paths of the machine that exported it.

    ValueError: an exporter has written another opset than the one that was asked for.
    """
    proto = onnx.load(path)
    if asked is not None and opset_of(proto) != asked:
        raise ValueError(f"it wrote opset {opset_of(proto)}, not {asked}")
    write_for_oldest(proto, asked)
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:], proto.metadata_props[:]
    onnx.save(proto, path)
