"""The one door to torchvision: `from tdq_core.system.torchvision_compat import torchvision`.

torchvision describes two of its compiled operators (`nms`, `qnms`) to torch while it is imported. A CPU-only torch
beside torchvision from PyPI cannot load the compiled file (it links against CUDA), the operators do not exist and the
import fails. Neither is used here, so their schemas are declared first, and only where they are missing.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _load_compiled_operators() -> None:
    """What torchvision does first when it is imported, without the rest of that import."""
    spec = importlib.util.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    for library in sorted(Path(folders[0]).glob("_C*")) if folders else []:
        try:
            torch.ops.load_library(library)
        except OSError:  # links against libraries that this torch does not have
            continue


def _declare_missing_operators() -> None:
    _load_compiled_operators()
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


_declare_missing_operators()

import torchvision  # noqa: E402  (must follow the declarations)

__all__ = ["torchvision"]
