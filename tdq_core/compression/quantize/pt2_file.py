"""The .pt2 file of an exported program: loadable with `torch.export.load`, without what only debugging needs."""

import tempfile
import zipfile
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

LOAD_HINT = "import torchao.quantization.pt2e.quantize_pt2e; torch.export.load(path).module()"


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write `program` to `path`: no example images, no stack traces, the graph's text deflated, tensors as they are."""
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta = {key: value for key, value in node.meta.items() if key == "val"}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = Path(folder) / path.name
        torch.export.save(program, plain)
        _deflate_text(plain, path)


def _deflate_text(plain: Path, path: Path) -> None:
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            text = entry.filename.endswith(".json")
            how = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
            target.writestr(entry.filename, source.read(entry), compress_type=how)


def load_program(path: Path, *, quantized: bool = True) -> GraphModule:
    """The program in `path`, ready to be called; a `quantized` one has operators of torchao."""
    if quantized:
        import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  (registers them; late: it takes a second)

    loaded: GraphModule = torch.export.load(path).module()
    return loaded
