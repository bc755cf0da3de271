"""TDQ: measure how tensor decomposition and quantization compress convolutional networks together.

    import tdq_core as tdq

    net = tdq.load("resnet20_cifar10")                    # or tdq.wrap(module, size=32)
    images = tdq.images("cifar10-jpeg:FOLDER")            # or tensors, or a DataLoader
    plan = tdq.plan(net, "tucker2", ratio=2); print(plan)
    small = tdq.compress(net, plan, fit=images.calib)
    art = tdq.quantize(small, "int8", backend="onnxruntime", calib=images.calib, to="out")
    score = tdq.measure(art, images, against=net); print(score.drop, art.bytes)

`docs/python.md` shows more. Verbs are imported when they are used: browsing runs loads no torch.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdq_core.api.bench import Race, bench
    from tdq_core.api.exports import Exported, Repaired, Saturation, Verified, export, repair, saturation, verify
    from tdq_core.api.image_sets import ImagePair, images
    from tdq_core.api.networks import Network, load, load_export, wrap
    from tdq_core.api.predictions import predict
    from tdq_core.api.runs import Runs, run, runs
    from tdq_core.api.sweeps import SweptRuns, sweep
    from tdq_core.api.verbs import Quantized, Score, compress, measure, plan, quantize
    from tdq_core.errors import InputError, Refused, RunFailed, TDQError
    from tdq_core.recipes.verb import recipe
    from tdq_core.specs import RankRule, RunSpec

# Before torch is loaded, which reads it once: threads that wait for each other sleep instead of spinning, so that one
# whose core somebody else has taken does not keep the others' cores busy too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_FROM = {
    "tdq_core.api.networks": ("Network", "load", "load_export", "wrap"),
    "tdq_core.api.bench": ("Race", "bench"),
    "tdq_core.api.exports": (
        "Exported",
        "Repaired",
        "Saturation",
        "Verified",
        "export",
        "repair",
        "saturation",
        "verify",
    ),
    "tdq_core.api.image_sets": ("ImagePair", "images"),
    "tdq_core.api.verbs": ("Quantized", "Score", "compress", "measure", "plan", "quantize"),
    "tdq_core.api.predictions": ("predict",),
    "tdq_core.api.runs": ("Runs", "run", "runs"),
    "tdq_core.api.sweeps": ("SweptRuns", "sweep"),
    "tdq_core.recipes.verb": ("recipe",),
    "tdq_core.errors": ("InputError", "Refused", "RunFailed", "TDQError"),
    "tdq_core.specs": ("RankRule", "RunSpec"),
}
_WHERE = {name: module for module, names in _FROM.items() for name in names}

__all__ = [
    "Exported",
    "ImagePair",
    "InputError",
    "Network",
    "Quantized",
    "Race",
    "RankRule",
    "Refused",
    "Repaired",
    "RunFailed",
    "RunSpec",
    "Runs",
    "Saturation",
    "Score",
    "SweptRuns",
    "TDQError",
    "Verified",
    "bench",
    "compress",
    "export",
    "images",
    "load",
    "load_export",
    "measure",
    "plan",
    "predict",
    "quantize",
    "recipe",
    "repair",
    "run",
    "runs",
    "saturation",
    "sweep",
    "verify",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tdq_core' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
