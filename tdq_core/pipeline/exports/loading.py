"""How a file is loaded and called: the lines that the card shows are those that a fresh process runs. No torch here.

Each defines `predict`, from images (N, C, H, W) float32 of NumPy to logits (N, classes).
"""

from pathlib import Path

ONNX = """\
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
predict = lambda images: session.run(None, {{session.get_inputs()[0].name: images}})[0]
"""
PT2 = """\
import numpy as np
import torch{operators}
program = torch.export.load({file!r}).module()
predict = lambda images: program(torch.from_numpy(images)).detach().numpy()
"""
REBUILT = """\
import numpy as np
import torch, tdq_core
network = tdq_core.load({folder!r}{model})
predict = lambda images: network(torch.from_numpy(images)).numpy()
"""


def lines(format: str, file: Path, *, precision: str, model: str | None = None) -> str:
    """The Python that loads `file`; `model`: what builds a network whose code is somebody's own, as Python says it: a
    name in quotes, or a `module` in hand where it has none."""
    if format == "onnx":
        return ONNX.format(file=str(file))
    if format == "pt2":
        operators = ", torchao.quantization.pt2e.quantize_pt2e" if precision == "int8" else ""
        return PT2.format(file=str(file), operators=operators)
    named = "" if model is None else f", model={model}"
    return REBUILT.format(folder=str(file.parent), model=named)
